"""The supervisor: it claims trials, keeps their leases, has a child train them, and writes down what happens.

The lease contract
------------------
The store's rows are the truth, and the database's clock is the only clock that decides a lease. A worker may act on a trial while
the row carries its fence; every write is one statement guarded by that fence, so a worker that was stopped for an hour and wakes
up changes nothing: its first write finds another fence, `LostLease`, and it lets the trial go.

A lease lasts `TTL` seconds and is renewed three times within them, also while an epoch takes hours: the supervisor never trains.
A worker whose process is gone (same host, no process of that number and start time) loses its leases at once; a host that is
gone loses them when they run out. To its owner a lease that ran out is still good, as long as nobody else has claimed the trial.

A database that does not answer is asked again. A statement whose answer was lost is repeated as it was: what it had done already
it finds done. Only a claim cannot be told from one that never was; `Store.disown` gives back what the worker does not know it
has. A worker that could not renew for `TTL - MARGIN` seconds by its own monotonic clock kills its child, before anybody else can
have the trials, and goes on when the database is back.

::

    queued ──A──▶ running ──B C D G──▶ complete, pruned, failed
      ▲              │     └───F─────▶ cancelled
      └──────E───────┘

    A  `Store.claim`: interrupted trials first; parameters are proposed once, and stay
    B  the last epoch was recorded, in the same transaction
    C  the epoch was recorded and the search calls the trial hopeless, in the same transaction; or, before it would be sent to
       the child, the formula of its shapes says that there is no such network, or that it breaks a constraint of the study
    D  a loss that is not finite, an exception, out of memory: at once.
       A child that died, or that neither worked nor said anything for `stall` seconds and was killed: E, until the trial has
       ended `MAX_CRASHES` processes without a checkpoint between them; two of them when the kernel killed for want of memory.
       The last one it has for itself, so that its end is not a neighbour's fault. One whose workers died, or gave up by an
       exception that nobody expects: after `MAX_DEATHS`
    E  a stop, a pause, a study that must go first: checkpoint, record, release; without the checkpoint when it takes too long.
       A dead child: release.  A dead supervisor: claimed anew by the next one
    F  `Store.cancel`: the child is killed when the worker finds, at the next renewal at the latest, that nothing is left to it
    G  `Store.drop`: the finalist cannot win the race any more; whoever has the trial lets it go when it reports the next time

When a study has ended, whoever sees it lets the next stage begin, if one is to come (`tuner.race`): `Store.follow` does so once.

What may be repeated after a kill is the work since the last checkpoint; an epoch that is recorded already keeps its first record.
Two checkpoints of a trial are kept, by paths below the worker's home: where that folder is shared, any host goes on from them.
"""

import logging
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from tuner import cgroup, failpoints, provenance, race
from tuner.channel import Report, Start, Verdict
from tuner.errors import BadInput, ChildDied, DatabaseAway, DatabaseLost, LostLease
from tuner.gauge import Gauge
from tuner.process import Child, alive, here, processors
from tuner.search import Search, out_of_time
from tuner.spec.aims import amounts, violated
from tuner.store import Claim, Insistent, Progress, Row, Stage, Store, Study
from tuner.trial import Checkpoint, Epoch, Failed, Failure, Outcome, Params, State, Trial

TTL = 30.0  # seconds that a lease lasts
RENEWALS = 3  # within them
MARGIN = 1 / 6  # of them is left when a worker that could not renew gives up by itself
RETRY = 0.5  # seconds between two tries to reach a database that is away
SAMPLE = 20.0  # seconds, at least, between two samples of how busy the host is
TICK = 0.25  # seconds between two looks at the clock, the signals and the screen
STALL = 600.0  # seconds without a report and without work after which a child is killed
MAX_CRASHES = 3
MAX_DEATHS = 6  # the same where the worker dies too, as a container does whose memory is at an end, and cannot say so
REMEDY = "it needs more memory, fewer others beside it, or a search of smaller networks"
PREPARED = 4  # epochs, at least, over which the proposals of a pack are spread: while one is made, the child waits if it is done
KEPT = 2  # checkpoints of a trial: an older one for the case that the newest is damaged
SUSPICIOUS = (Failure.ERROR, Failure.CRASHED, Failure.HOST_OUT_OF_MEMORY)  # failures that may be the machine's fault

log = logging.getLogger(__name__)


class Relinquished(Exception):
    """The child is not waited for any longer; what it holds is given back."""


class Supervisor:
    """Works on one study until nothing is left to do."""

    def __init__(self, store: Store, study: Study, home: Path, roots: list[Path], environment: dict[str, str]) -> None:
        self._store = cast("Store", Insistent(store, self._wait_for_database))
        self._asked_once = store  # for what nothing shall wait for
        self._study = study
        self._home = home
        self.worker = here()
        self._complaint = ""  # what was wrong with the worker when it began here
        self._roots = [str(root) for root in roots]
        self._environment = environment
        self._gauge, self._sampled = Gauge(environment), -math.inf
        self._search = Search(study.spec)
        self._claims: dict[int, Claim] = {}
        self._ready: list[Trial] = []  # claimed and proposed while the child trains, not yet with it
        self._suspect: int | None = None  # a trial of which the next death of a process is the last; it has no neighbours
        self._checkpointed: dict[int, list[Checkpoint]] = {}
        self._renewed = time.monotonic()
        self._unsure = False  # whether a claim may have been made of which the answer was lost
        self._drain_by = math.inf
        self._draining = False
        self._stillborn = 0  # children in a row that were killed before they had a trial
        self.failed_in_a_row = 0
        self.command = [sys.executable, "-m", "tuner.child"]
        self.group = cgroup.of()
        self.stall = STALL
        self.ttl = TTL
        self.leave: Callable[[Supervisor], bool] = lambda _supervisor: False  # asked before a verdict: shall others go first?

    @property
    def study(self) -> Study:
        """The study, as it was at the last renewal of the leases."""
        return self._study

    @property
    def _folder(self) -> Path:
        """Where its checkpoints are, below the home; its own, as one that lost its leases unknowingly may still be writing."""
        return self._study.folder / self.worker.name

    @property
    def held(self) -> int:
        """How many trials are at work here."""
        return len(self._claims)

    def drain(self, within: float = math.inf) -> None:
        """Ask for a stop: running trials are checkpointed and released, and `work` returns.

        A child that has not reported `within` so many seconds is killed, and its trials go on from their last checkpoints.
        """
        self._draining = True
        self._drain_by = min(self._drain_by, time.monotonic() + within)

    def work(self, tick: Callable[[], None]) -> None:
        """Train trials until the study has ended or is paused, or `drain` was called; `tick` is called several times a second.

        Raises `BadInput` when its folders cannot be made or the child cannot read the data, `ChildDied` when it dies without a
        trial to blame.
        """
        self._complaint = self.worker.message
        self._make_folders()
        try:
            self._store.enlist(self.worker)
            self._store.note(self._study, self.worker, provenance.here(self._environment))
            self._bury()
            self._store.disown(self.worker.name, ())  # what a supervisor of this name before this one could not give back
            self._catch_up()
            self._train(tick)
            if not self._unfinished():  # a kill between the end of a trial and the removal of its file leaves the file behind
                self._clear()
                self._begin_next()
        except DatabaseAway:
            if not self._draining:
                raise

    def _make_folders(self) -> None:
        for folder in (self._home / self._folder, self._home / "logs"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"--home: {folder} cannot be made: {error.strerror}") from None

    def _train(self, tick: Callable[[], None]) -> None:
        """Have one child after the other train, until nothing is left to do or `drain` was called; nothing is held then."""
        while True:
            try:
                return self._train_or_give_back(tick)
            except DatabaseAway as error:
                log.warning("%s; no training process is left, as others may have its trials soon", error)
                self._recover()

    def _train_or_give_back(self, tick: Callable[[], None]) -> None:
        try:
            while not self._draining and self._unfinished():
                self._attend(tick)
        except DatabaseLost:
            raise
        except Exception as error:
            expected = isinstance(error, BadInput | ChildDied)
            self._give_back(crashed=0 if expected else 1)  # any of the trials may be the reason, as when a worker dies
            raise
        self._give_back()

    def _unfinished(self) -> bool:
        counts = self._store.counts(self._study)
        return counts[State.QUEUED] + counts[State.RUNNING] > 0

    def _clear(self) -> None:
        """Remove every checkpoint; the winner's model stays."""
        folder = self._home / self._study.folder
        ended = self._store.trials(self._study, states=[State.COMPLETE]) if self._study.stage is Stage.TEST else []
        kept = {self._home / row.checkpoint.path for row in ended if row.checkpoint is not None}
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
        for file in set(folder.glob("*/*")) - kept:
            file.unlink(missing_ok=True)

    def _begin_next(self) -> None:
        study = self._store.again(self._study)
        if study is not None and not study.followed:
            epochs = self._store.epochs(study) if study.stage is Stage.RACE else {}  # what follows a search asks for none
            following = race.following(study, self._store.trials(study), epochs)
            failpoints.reach("stage.due")
            self._store.follow(study, following)
            failpoints.reach("stage.committed")

    def _bury(self) -> None:
        """End the leases of this host's workers whose process is gone, so that nobody waits for them to run out."""
        dead = [w.name for w in self._store.owners(self.worker.host) if not alive(w)]
        if dead:
            self._store.expire(dead)

    def _catch_up(self) -> None:
        """Bring the replica of the search in step with the store."""
        begun = [state for state in State if state is not State.QUEUED]
        rows = self._store.trials(self._study, first=self._search.lowest_open, states=begun)
        news = [row for row in self._search.unfinished(rows) if row.number not in self._claims]
        wanted = [row.number for row in news if row.params is not None]
        self._search.sync(news, self._store.epochs(self._study, wanted) if wanted else {})

    # The conversation with the child ------------------------------------------------------------

    def _attend(self, tick: Callable[[], None]) -> None:
        """One life of a child."""
        log_file = self._home / "logs" / f"{self.worker.name}.log"
        child = Child(self.command, log_file, self._environment, self.group)
        self._gauge.watch(child.process.pid)
        try:
            spec, folder = self._study.spec.model_dump_json(), str(self._home / self._folder)
            full, threads = self._study.facts.get("full"), processors(self._environment)
            child.channel.send(Start(spec, self._roots, folder, failpoints.inherited(), threads, full, self._study.facts))
            verdict = Verdict()
            while not verdict.quit:
                report = self._await_report(child, tick)
                self._record(report, child)
                verdict = self._verdict(report, tick)
                child.channel.send(verdict)
                self._prepare(report)
            self._part(child, tick)
        except EOFError:
            self._mourn(child)
        except Relinquished:
            self._give_back()
        finally:
            child.kill()

    def _await_report(self, child: Child, tick: Callable[[], None]) -> Report:
        """The child's next report; an empty one when it is still loading and nobody waits for it any more."""
        self._keep_leases()
        while (raw := child.channel.receive(TICK)) is None:
            if self._draining and not self._claims:
                return Report(room=0)
            if time.monotonic() > self._drain_by:
                raise Relinquished
            child.kill_if_stalled(self.stall)
            self._keep_leases()
            _show(tick)
        child.heard()
        report = Report.decode(raw)
        self._stillborn = 0
        if report.unusable:
            raise BadInput(report.unusable)
        return report

    def _verdict(self, report: Report, tick: Callable[[], None]) -> Verdict:
        """What the child shall do next; waits while there is nothing to do but others are still at work."""
        if report.room is None:
            last = self._study.spec.train.epochs
            return Verdict(stop=[e.number for e in report.epochs if e.number not in self._claims and e.epoch < last])
        if self.leave(self):
            self.drain()
        while not self._draining:
            self._check_budget()
            add = self._take(report.room, report.like)
            if add or len(self._claims) > len(self._ready):
                return Verdict(add=add)
            if not self._unfinished() or self.leave(self):
                break
            self._keep_leases()
            _show(tick)
            time.sleep(TICK)
        return Verdict(quit=True)

    def _part(self, child: Child, tick: Callable[[], None]) -> None:
        """Take the child's last checkpoints and give its trials back."""
        self._record(self._await_report(child, tick), child)
        self._give_back()

    def _give_back(self, *, crashed: int = 0) -> None:
        for claim in self._claims.values():
            self._release(claim, crashed=crashed)
        self._claims.clear()
        self._ready.clear()

    def _release(self, claim: Claim, *, crashed: int = 0) -> None:
        try:
            self._store.release(claim, crashed=crashed)
        except LostLease:
            log.info("trial %d was taken away", claim.number)

    def _recover(self) -> None:
        """Wait for the database, and begin anew from what it says; without the trials, unless nobody has taken them meanwhile."""
        held, self._claims, self._ready = self._claims, {}, []
        self._store.clock()  # without a claim there is no haste
        for claim in held.values():
            self._release(claim)
        self._search = Search(self._study.spec)
        self._catch_up()

    def _mourn(self, child: Child) -> None:
        """The child is dead: its trials go back to the queue, or end when they keep killing.

        After a kill for want of memory each has one more try, alone. A child that was killed before it had a trial gets a
        successor; one that gave up by itself would only do so again.
        """
        words = child.last_words()
        untouched = {trial.number: self._claims[trial.number] for trial in self._ready}
        inside = [claim for claim in self._claims.values() if claim.number not in untouched]
        if not inside:
            self._stillborn += 1
            if child.process.returncode > 0 or self._stillborn >= MAX_CRASHES:
                raise ChildDied(f"the training process ended without a word ({words})")
        mine = {
            Claim(self._study.id, row.number, row.fence): row for row in self._store.trials(self._study, states=[State.RUNNING])
        }
        if (starved := child.starved) and len(inside) > 1:
            log.warning(
                "%d trials go on alone, as their process was %s; fewer lanes (train.lanes) need less", len(inside), starved
            )
        for claim in [claim for claim in inside if claim in mine]:
            if mine[claim].crashes + 1 >= MAX_CRASHES:
                self._write([Progress(claim, outcome=_died(child))])
            else:
                self._release(claim, crashed=MAX_CRASHES - 1 - mine[claim].crashes if starved else 1)
        self._claims = untouched

    # Trials in ------------------------------------------------------------

    def _take(self, room: int, like: int | None) -> list[Trial]:
        """As many trials as there is room for, with parameters that let them train beside the trial `like`, or together.

        A trial that has ended all but one of the processes that it may end is trained alone, so that the last one tells whether
        it was the trial or a neighbour.
        """
        if self._suspect in self._claims:
            return []
        trials, self._ready = self._ready[:room], self._ready[room:]
        beside = self._search.params(like) if like is not None else trials[0].params if trials else None
        while len(trials) < room and (trial := self._next(beside)) is not None:
            trials.append(trial)
            beside = beside or trial.params
            if trial.number == self._suspect:
                break
        return trials

    def _prepare(self, report: Report) -> None:
        """Propose trials for later while the child trains, some at a time, so that it need not wait for the sampler.

        How many depends on nothing but what the child said: the same study makes the same proposals the next time.
        """
        if report.room is None or self._draining or not self._claims or (report.like is None and report.room):
            return  # the child does not train now: it waits for the next verdict, or asks for the rest of a pack
        beside = self._search.params(report.like) if report.like is not None else self._ready[0].params if self._ready else None
        unpruned = self._study.spec.train.epochs - 1 if self._study.spec.pruner.name == "none" else 0
        for _ in range(min(math.ceil(report.soon / max(PREPARED, unpruned)), report.soon - len(self._ready))):
            if self._suspect in self._claims or (trial := self._next(beside)) is None:
                return
            self._ready.append(trial)
            beside = beside or trial.params

    def _next(self, beside: Params | None) -> Trial | None:
        """A trial that was claimed and has parameters; None when there is none, or a suspect that others would be beside."""
        while (taken := self._store.claim(self._study, self.worker.name, self.ttl)) is not None:
            claim, row = taken
            suspect = row.crashes >= MAX_CRASHES - 1
            # What it seems to hold still, the child may be training: others had it meanwhile, and the next renewal will tell.
            if claim.number in self._claims or (suspect and self._claims):
                self._release(claim)
                return None
            self._claims[claim.number], self._suspect = claim, claim.number if suspect else None
            if row.crashes >= MAX_DEATHS:  # its parameters may be what the workers die of
                self._write([Progress(claim, outcome=_deadly(row))])
                continue
            try:
                params = self._propose(claim, beside) if row.params is None else self._resume(row, row.params)
            except LostLease:
                del self._claims[claim.number]
                continue
            if (end := self._vain(params)) is not None:
                self._write([Progress(claim, outcome=end)])
                continue
            seed = race.seed_of(self._study, row.number)
            return Trial(row.number, params, seed, self._here(row.checkpoint), self._here(row.previous))
        return None

    def _propose(self, claim: Claim, beside: Params | None) -> Params:
        """Parameters for a trial that has none yet."""
        self._catch_up()
        proposal = self._search.ask(claim.number, beside)
        failpoints.reach("proposal.drawn")
        self._store.propose(claim, proposal.params, proposal.attrs)
        return proposal.params

    def _vain(self, params: Params) -> Outcome | None:
        """The end of a trial that need not be trained: by formula there is no such network, or it breaks a constraint."""
        facts, space = self._study.facts, self._search.space
        if "input_shape" not in facts:
            return None
        shape, outputs = tuple(facts["input_shape"]), facts["classes"] or 1
        if reason := space.impossible(params, shape, outputs):
            return Outcome(State.PRUNED, message=reason)
        if not space.spec.constraints:
            return None
        known = space.costs(params, shape, outputs)
        costs = {name: known[name] for name in space.spec.costs if name in known}
        if not (broken := violated(space.spec.constraints, costs)):
            return None
        return Outcome(State.PRUNED, message=f"{'; '.join(map(str, broken))}: {amounts(costs)}", costs=costs)

    def _resume(self, row: Row, params: Params) -> Params:
        """Let the search know a trial that was begun before."""
        self._search.sync([row], self._store.epochs(self._study, [row.number]))
        self._checkpointed[row.number] = [kept for kept in (row.previous, row.checkpoint) if kept is not None]
        return params

    def _here(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        """A checkpoint of the store, whose path is below any worker's home, below this one's."""
        return checkpoint and replace(checkpoint, path=(self._home / checkpoint.path).absolute())

    # News out ------------------------------------------------------------

    def _record(self, report: Report, child: Child) -> None:
        """Judge the epochs and write everything in one transaction; then the checkpoints that it replaced can go."""
        if report.unsaved or report.checkpoints:
            self.worker = replace(self.worker, message="; ".join(filter(None, (self._complaint, report.unsaved))))
        if report.engine:
            self.worker = replace(self.worker, engine=report.engine)
        saved = {
            number: replace(checkpoint, path=self._folder / checkpoint.path.name)
            for number, checkpoint in report.checkpoints.items()
            if number in self._claims
        }
        progress = [self._judge(e, saved.pop(e.number, None)) for e in report.epochs if e.number in self._claims]
        failed = [f for f in report.failed if f.number in self._claims]
        progress += [Progress(self._claims[f.number], outcome=_failed(f, child.tail())) for f in failed]
        progress += [Progress(self._claims[number], checkpoint=checkpoint) for number, checkpoint in saved.items()]
        self._write(progress)

    def _write(self, progress: list[Progress]) -> None:
        if not progress:
            return
        try:
            failpoints.reach("epoch.judged")
            self._store.record(progress, self.ttl)
        except LostLease:
            lost = {claim.number for claim in self._store.renew([item.claim for item in progress], self.ttl)}
            for number in lost:
                del self._claims[number]
            self._write([item for item in progress if item.claim.number not in lost])
            return
        for item in progress:
            self._settle(item)
        if self._study.stage is Stage.RACE and any(item.outcome for item in progress):
            self._drop_hopeless()

    def _drop_hopeless(self) -> None:
        runs = race.Race(self._study, self._store.trials(self._study)).hopeless()
        if runs:
            self._store.drop(self._study, runs, race.DROPPED)

    def _settle(self, item: Progress) -> None:
        """What follows from a record once it is committed."""
        number = item.claim.number
        kept = self._checkpointed.setdefault(number, [])
        if item.checkpoint is not None and item.checkpoint not in kept:
            kept.append(item.checkpoint)
            failpoints.reach("checkpoint.recorded")
        if item.outcome is not None:
            self._search.tell(number, item.outcome)
            del self._claims[number]
            self.failed_in_a_row = self.failed_in_a_row + 1 if item.outcome.failure in SUSPICIOUS else 0
        self._forget(kept[:-KEPT] if item.outcome is None else self._checkpointed.pop(number))
        del kept[:-KEPT]

    def _forget(self, checkpoints: list[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            (self._home / checkpoint.path).unlink(missing_ok=True)

    def _judge(self, epoch: Epoch, checkpoint: Checkpoint | None) -> Progress:
        """An epoch's record, with the trial's end if this is it."""
        number, claim = epoch.number, self._claims[epoch.number]
        metrics = epoch.metrics
        bad = next((m for m in ("loss", self._study.spec.objective.metric) if not _finite(metrics.get(m, 0.0))), None)
        outcome = None
        if bad is not None:
            message = f"{bad} is {metrics[bad]} after epoch {epoch.epoch}"
            outcome = Outcome(State.FAILED, failure=Failure.NON_FINITE, message=message)
        elif self._search.hopeless(epoch):
            outcome = Outcome(State.PRUNED, value=self._search.best_value(number), message=f"after epoch {epoch.epoch}")
        elif epoch.epoch == self._study.spec.train.epochs:
            outcome = Outcome(State.COMPLETE, value=self._value(epoch), model=checkpoint, costs=epoch.costs)
            checkpoint = None
        return Progress(claim, [epoch], self._search.attrs(number), checkpoint, outcome)

    def _value(self, last: Epoch) -> float | None:
        if self._study.stage is Stage.TEST:
            return last.metrics[race.tested(self._study.spec)]
        return self._search.best_value(last.number)

    # Leases and budget ------------------------------------------------------------

    def _keep_leases(self) -> None:
        """Renew what is held, and look whether that is still wanted. Raises `Relinquished` when nothing of it is left."""
        began = time.monotonic()
        if began - self._renewed < self.ttl / RENEWALS:
            return
        lost = self._store.renew(self._claims.values(), self.ttl)
        self._renewed = began
        if self._unsure:
            self._unsure = False
            self._store.disown(self.worker.name, self._claims.values())
        self._store.enlist(self.worker)
        if began - self._sampled >= SAMPLE:
            self._sampled = began
            self._sample()
        self._look_at_study()
        for claim in lost:
            del self._claims[claim.number]
        self._ready = [trial for trial in self._ready if trial.number in self._claims]
        if lost and not self._claims:
            raise Relinquished

    def _sample(self) -> None:
        try:
            self._asked_once.sample(self._study, self.worker.name, self._gauge.read())
        except DatabaseLost as error:
            log.debug("a sample is left out: %s", error)  # people look at it, nothing depends on it

    def _look_at_study(self) -> None:
        study = self._store.again(self._study)
        if study is None or study.paused:
            self.drain()
        self._study = study or self._study

    def _wait_for_database(self, error: DatabaseAway) -> None:
        """Wait a moment; raises the error when the leases are about to run out, or nobody wants to wait."""
        if (self._claims and time.monotonic() - self._renewed > self.ttl * (1 - MARGIN)) or (self._draining and not self._claims):
            raise error
        self._unsure = True
        time.sleep(RETRY)

    def _check_budget(self) -> None:
        """Cancel what is queued once the study's hours, target or patience are reached."""
        reason = self._search.exhausted() or out_of_time(self._store, self._study)
        if reason:
            for trial in self._ready:
                self._release(self._claims.pop(trial.number))
            self._ready.clear()
            self._store.stop(self._study, reason)


def _show(tick: Callable[[], None]) -> None:
    try:
        tick()
    except DatabaseAway as error:
        log.debug("nothing to show: %s", error)  # what is shown can wait; the next verb waits for the database


def _failed(failed: Failed, tail: str) -> Outcome:
    return Outcome(State.FAILED, failure=failed.kind, message=failed.message, log=tail)


def _died(child: Child) -> Outcome:
    """The end of a trial that had ended enough processes, the last of them alone."""
    if child.starved:
        kind, how = Failure.HOST_OUT_OF_MEMORY, f"of this trial alone was {child.starved}: {REMEDY}"
    else:
        kind, how = Failure.CRASHED, f"died again and again without reaching a checkpoint: {child.last_words()}"
    return Outcome(State.FAILED, failure=kind, message=f"the training process {how}", log=child.tail())


def _deadly(row: Row) -> Outcome:
    """The end of a trial whose workers die, and so cannot end it."""
    message = f"its worker died {row.crashes} times without reaching a checkpoint of it; a container's memory may be too small"
    return Outcome(State.FAILED, failure=Failure.CRASHED, message=message)


def _finite(value: float) -> bool:
    return value - value == 0.0
