"""The supervisor: it claims trials, keeps their leases, has a child train them, and writes down what happens.

The lease contract
------------------
The store's rows are the truth, and the database's clock is the only clock that decides a lease. A worker may act on a trial while
the row carries its fence; every write is one statement guarded by that fence, so a worker that was stopped for an hour and wakes
up changes nothing: its first write finds another fence, `LostLease`, and it lets the trial go.

A lease lasts `TTL` seconds and is renewed every `RENEW` seconds, also while an epoch takes hours: the supervisor never trains. A
worker whose process is gone (same host, no process of that number and start time) loses its leases at once; a host that is gone
loses them when they run out.

::

    queued ──A──▶ running ──B C D──▶ complete, pruned, failed
      ▲              │
      └──────E───────┘

    A  `Store.claim`: interrupted trials first; parameters are proposed once, and stay
    B  the last epoch was recorded, in the same transaction
    C  the epoch was recorded and the search calls the trial hopeless, in the same transaction; or, before it would be sent to
       the child, the formula of its shapes says that there is no such network
    D  a loss that is not finite, an exception, out of memory: at once.
       A child that died: E, until the trial has killed `MAX_CRASHES` processes without a checkpoint between them
    E  Ctrl-C: checkpoint, record, release.  A dead child: release.  A dead supervisor: claimed anew by the next one

What may be repeated after a kill is the work since the last checkpoint; an epoch that is recorded already keeps its first record.
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

from tuner.channel import Channel, Report, Start, Verdict
from tuner.errors import BadInput, ChildDied, LostLease
from tuner.search import Search
from tuner.store import Claim, Progress, Row, Store, Study, Worker
from tuner.trial import Checkpoint, Epoch, Failed, Failure, Outcome, Params, State, Trial

TTL = 30.0
RENEW = 10.0
TICK = 0.25  # seconds between two looks at the clock, the signals and the screen
MAX_CRASHES = 3
LOG_TAIL = 2_000  # bytes of a dead child's log that are looked at for a reason


class Child:
    """The training process and the line to it."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with theirs, log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal reaches the supervisor only, which lets the child finish its epoch.
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment, start_new_session=True,
            )  # fmt: skip
        self.channel = Channel(ours)

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        self.process.kill()
        self.process.wait()
        self.channel.close()

    def last_words(self) -> str:
        """How the process ended, and the last line of its log."""
        code = self.process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LOG_TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return f"{how}; its last line in {self.log}: {lines[-1].strip() if lines else 'nothing'}"


class Supervisor:
    """Works on one study until nothing is left to do."""

    def __init__(self, store: Store, study: Study, home: Path, roots: list[Path], environment: dict[str, str]) -> None:
        self._store = store
        self._study = study
        self._home = home
        self._start = Start(study.spec.model_dump_json(), [str(root) for root in roots], str(self._checkpoints))
        self._environment = environment
        self._search = Search(study.spec)
        self._claims: dict[int, Claim] = {}
        self._checkpointed: dict[int, Checkpoint] = {}
        self._renewed = time.monotonic()
        self._draining = False
        self._stillborn = 0  # children in a row that were killed before they had a trial
        self.command = [sys.executable, "-m", "tuner.child"]
        process = psutil.Process()
        self._worker = Worker(
            f"{socket.gethostname()[:40]}-{uuid.uuid4().hex[:8]}", socket.gethostname(), process.pid, process.create_time()
        )

    @property
    def _checkpoints(self) -> Path:
        return self._home / "checkpoints" / str(self._study.id)

    def drain(self) -> None:
        """Ask for a stop: running trials are checkpointed and released, and `work` returns."""
        self._draining = True

    def work(self, tick: Callable[[], None]) -> None:
        """Train trials until the study has ended or `drain` was called; `tick` is called several times a second.

        Raises `BadInput` when the child cannot read the data, `ChildDied` when it dies without a trial to blame.
        """
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        self._store.enlist(self._worker)
        self._bury()
        self._catch_up()
        while self._unfinished() and not self._draining:
            self._attend(tick)
        if not self._unfinished():  # a kill between the end of a trial and the removal of its file leaves the file behind
            shutil.rmtree(self._checkpoints, ignore_errors=True)

    def _unfinished(self) -> bool:
        counts = self._store.counts(self._study)
        return counts[State.QUEUED] + counts[State.RUNNING] > 0

    def _bury(self) -> None:
        """End the leases of this host's workers whose process is gone, so that nobody waits for them to run out."""
        dead = [w.name for w in self._store.owners(self._worker.host) if not _alive(w)]
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
        logs = self._home / "logs" / f"{self._worker.name}.log"
        child = Child(self.command, logs, self._environment)
        try:
            child.channel.send(self._start)
            verdict = Verdict()
            while not verdict.quit:
                report = self._await_report(child, tick)
                self._record(report)
                verdict = self._verdict(report, tick)
                child.channel.send(verdict)
            self._part(child, tick)
        except EOFError:
            self._mourn(child)
        finally:
            child.kill()

    def _await_report(self, child: Child, tick: Callable[[], None]) -> Report:
        """The child's next report; an empty one when it is still loading and nobody waits for it any more."""
        self._keep_leases()
        while (raw := child.channel.receive(TICK)) is None:
            if self._draining and not self._claims:
                return Report(room=0)
            self._keep_leases()
            tick()
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
        while not self._draining:
            self._check_budget()
            add = self._take(report.room, report.like)
            if add or self._claims:
                return Verdict(add=add)
            if not self._unfinished():
                break
            tick()
            time.sleep(TICK)
        return Verdict(quit=True)

    def _part(self, child: Child, tick: Callable[[], None]) -> None:
        """Take the child's last checkpoints and give its trials back."""
        self._record(self._await_report(child, tick))
        for claim in self._claims.values():
            self._store.release(claim)
        self._claims.clear()

    def _mourn(self, child: Child) -> None:
        """The child is dead: its trials go back to the queue, or end when they keep killing.

        One that was killed before it had a trial gets a successor; one that gave up by itself would only do so again.
        """
        words = child.last_words()
        if not self._claims:
            self._stillborn += 1
            if child.process.returncode > 0 or self._stillborn >= MAX_CRASHES:
                raise ChildDied(f"the training process ended without a word ({words})")
        mine = {
            Claim(self._study.id, row.number, row.fence): row for row in self._store.trials(self._study, states=[State.RUNNING])
        }
        for claim in [claim for claim in self._claims.values() if claim in mine]:
            if mine[claim].crashes + 1 >= MAX_CRASHES:
                message = f"the training process died {MAX_CRASHES} times in a row without reaching a checkpoint: {words}"
                self._write([Progress(claim, outcome=Outcome(State.FAILED, failure=Failure.CRASHED, message=message))])
            else:
                self._store.release(claim, crashed=True)
        self._claims.clear()

    # Trials in ------------------------------------------------------------

    def _take(self, room: int, like: int | None) -> list[Trial]:
        """Claim as many trials as there is room for, with parameters that let them train beside the trial `like`, or together."""
        trials: list[Trial] = []
        beside = None if like is None else self._search.params(like)
        while len(trials) < room and (taken := self._store.claim(self._study, self._worker.name, TTL)) is not None:
            claim, row = taken
            self._claims[claim.number] = claim
            try:
                params = self._propose(claim, beside) if row.params is None else self._resume(row, row.params)
            except LostLease:
                del self._claims[claim.number]
                continue
            if reason := self._impossible(params):
                self._write([Progress(claim, outcome=Outcome(State.PRUNED, message=reason))])
                continue
            seed = trial_seed(self._study.spec.seed, row.number)
            trials.append(Trial(row.number, params, seed, row.checkpoint))
            beside = beside or params
        return trials

    def _propose(self, claim: Claim, beside: Params | None) -> Params:
        """Parameters for a trial that has none yet."""
        self._catch_up()
        proposal = self._search.ask(claim.number, beside)
        self._store.propose(claim, proposal.params, proposal.attrs)
        return proposal.params

    def _impossible(self, params: Params) -> str:
        """Why these parameters make no network on the data that the study was launched with; empty when they do."""
        facts = self._study.facts
        if "input_shape" not in facts:
            return ""
        return self._search.space.impossible(params, tuple(facts["input_shape"]), facts["classes"] or 1)

    def _resume(self, row: Row, params: Params) -> Params:
        """Let the search know a trial that was begun before."""
        self._search.sync([row], self._store.epochs(self._study, [row.number]))
        if row.checkpoint is not None:
            self._checkpointed[row.number] = row.checkpoint
        return params

    # News out ------------------------------------------------------------

    def _record(self, report: Report) -> None:
        """Judge the epochs and write everything in one transaction; then the checkpoints that it replaced can go."""
        saved = {number: checkpoint for number, checkpoint in report.checkpoints.items() if number in self._claims}
        progress = [self._judge(e, saved.pop(e.number, None)) for e in report.epochs if e.number in self._claims]
        progress += [Progress(self._claims[f.number], outcome=_failed(f)) for f in report.failed if f.number in self._claims]
        progress += [Progress(self._claims[number], checkpoint=checkpoint) for number, checkpoint in saved.items()]
        self._write(progress)

    def _write(self, progress: list[Progress]) -> None:
        try:
            self._store.record(progress, TTL)
        except LostLease:
            lost = {claim.number for claim in self._store.renew([item.claim for item in progress], TTL)}
            for number in lost:
                del self._claims[number]
            self._write([item for item in progress if item.claim.number not in lost])
            return
        for item in progress:
            self._settle(item)

    def _settle(self, item: Progress) -> None:
        """What follows from a record once it is committed."""
        number = item.claim.number
        old = self._checkpointed.get(number)
        if item.checkpoint is not None:
            self._checkpointed[number] = item.checkpoint
        if item.outcome is not None:
            self._search.tell(number, item.outcome)
            del self._claims[number]
            current = self._checkpointed.pop(number, None)
            if current is not None:
                current.path.unlink(missing_ok=True)
        if old is not None and (item.checkpoint is not None and item.checkpoint.path != old.path):
            old.path.unlink(missing_ok=True)

    def _judge(self, epoch: Epoch, checkpoint: Checkpoint | None) -> Progress:
        """An epoch's record, with the trial's end if this is it."""
        number, claim = epoch.number, self._claims[epoch.number]
        bad = next((name for name in ("loss", self._study.spec.objective.metric) if not _finite(epoch.metrics[name])), None)
        outcome = None
        if bad is not None:
            message = f"{bad} is {epoch.metrics[bad]} after epoch {epoch.epoch}"
            outcome = Outcome(State.FAILED, failure=Failure.NON_FINITE, message=message)
        elif self._search.hopeless(epoch):
            outcome = Outcome(State.PRUNED, value=self._search.best_value(number), message=f"after epoch {epoch.epoch}")
        elif epoch.epoch == self._study.spec.train.epochs:
            outcome = Outcome(State.COMPLETE, value=self._search.best_value(number))
        return Progress(claim, [epoch], self._search.attrs(number), checkpoint, outcome)

    # Leases and budget ------------------------------------------------------------

    def _keep_leases(self) -> None:
        if time.monotonic() - self._renewed < RENEW:
            return
        for claim in self._store.renew(self._claims.values(), TTL):
            del self._claims[claim.number]
        self._store.enlist(self._worker)
        self._renewed = time.monotonic()

    def _check_budget(self) -> None:
        """Cancel what is queued once the study's hours, target or patience are reached."""
        reason = self._search.exhausted() or self._out_of_time()
        if reason:
            self._store.stop(self._study, reason)

    def _out_of_time(self) -> str:
        hours = self._study.spec.budget.hours
        if hours is None or self._store.clock() - self._study.created < hours * 3600:
            return ""
        return f"budget.hours: {hours:g} hours are over"


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's initial weights and masks: its own, and the same whoever trains it."""
    return (study_seed * 1_000_003 + number * 7_919 + 1) % 2**31


def _failed(failed: Failed) -> Outcome:
    return Outcome(State.FAILED, failure=failed.kind, message=failed.message)


def _finite(value: float) -> bool:
    return value - value == 0.0


def _alive(worker: Worker) -> bool:
    try:
        return bool(abs(psutil.Process(worker.pid).create_time() - worker.process_started) < 1.0)
    except psutil.NoSuchProcess:
        return False
