"""What workers asked of a store and what they were told, in one file of JSON lines, and the judgement of it.

Each call is a line before (`asked`) and, unless the process died in it, one after (`told`): so a write that was told to have
happened is known to have been asked for before, and what was told before something else was asked happened before it.
"""

import json
import math
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.errors import DatabaseAway, LostLease
from tuner.spec import StudySpec
from tuner.store import Claim, Progress, Row, Store, Study
from tuner.trial import Epoch, Params, State

FAULTS = ("lost", "unexpected", "duplicated", "over budget", "two owners of one fence", "stale writes")
WRITES = ("propose", "record", "release")


class Witness(Store):
    """A store that writes down what it is asked and what it answers."""

    def __init__(self, url: Any, file: Path) -> None:
        super().__init__(url)
        self._history = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def close(self) -> None:
        os.close(self._history)
        super().close()

    def _line(self, **said: Any) -> None:
        os.write(self._history, json.dumps(said).encode() + b"\n")

    @contextmanager
    def _told(self, verb: str, study: int | None, **asked: Any) -> Iterator[dict[str, Any]]:
        call, told = uuid.uuid4().hex, {}
        self._line(call=call, verb=verb, study=study, asked=asked)
        try:
            yield told
        except LostLease:
            self._line(call=call, answer="refused")
            raise
        except DatabaseAway:
            self._line(call=call, answer="unknown")
            raise
        self._line(call=call, answer="done", told=told)

    def claim(self, study: Study, owner: str, ttl: float, *, now: float | None = None) -> tuple[Claim, Row] | None:
        with self._told("claim", study.id, owner=owner) as told:
            taken = super().claim(study, owner, ttl, now=now)
            if taken is not None:
                told |= {"number": taken[0].number, "fence": taken[0].fence}
        return taken

    def propose(self, claim: Claim, params: Params, attrs: Mapping[str, Any]) -> None:
        with self._told("propose", claim.study_id, trials=[_trial(claim)], params=dict(params)):
            super().propose(claim, params, attrs)

    def record(self, progress: Iterable[Progress], ttl: float, *, now: float | None = None) -> None:
        items = list(progress)
        trials = [
            {
                **_trial(item.claim),
                "epochs": [[epoch.epoch, dict(epoch.metrics)] for epoch in item.epochs],
                "end": [item.outcome.state, item.outcome.value] if item.outcome else None,
            }
            for item in items
        ]
        with self._told("record", items[0].claim.study_id if items else None, trials=trials):
            super().record(items, ttl, now=now)

    def release(self, claim: Claim, *, crashed: int = 0) -> None:
        with self._told("release", claim.study_id, trials=[_trial(claim)]):
            super().release(claim, crashed=crashed)

    def launch(self, spec: StudySpec, trials: int, facts: Mapping[str, Any], *, now: float | None = None) -> Study:
        with self._told("launch", None):
            return super().launch(spec, trials, facts, now=now)

    def pause(self, study: Study, *, paused: bool) -> None:
        with self._told("pause" if paused else "resume", study.id):
            super().pause(study, paused=paused)

    def cancel(self, study: Study, reason: str, *, now: float | None = None) -> None:
        with self._told("cancel", study.id):
            super().cancel(study, reason, now=now)

    def stop(self, study: Study, reason: str, *, now: float | None = None) -> None:
        with self._told("stop", study.id):
            super().stop(study, reason, now=now)

    def extend(self, study: Study, trials: int) -> Study:
        with self._told("extend", study.id):
            return super().extend(study, trials)


def _trial(claim: Claim) -> dict[str, int]:
    return {"number": claim.number, "fence": claim.fence}


@dataclass
class Call:
    """A call and its answer; `begun` and `ended` are lines of the history, `ended` is None when nobody heard the answer.

    `study` is the id of the study or stage that it is about; None when it is about none, or a new one.
    """

    verb: str
    asked: dict[str, Any]
    begun: int
    study: int | None = None
    ended: int | None = None
    answer: str = "unknown"
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it was said to have happened."""
        return self.answer == "done"

    @property
    def claimed(self) -> tuple[int, int] | None:
        """The trial and the fence that a claim got."""
        return (self.told["number"], self.told["fence"]) if self.verb == "claim" and self.told else None

    @property
    def writes(self) -> list[dict[str, Any]]:
        """What it writes, by trial."""
        return self.asked["trials"] if self.verb in WRITES else []


def read(file: Path) -> list[Call]:
    """The calls of a history in the order in which they were asked."""
    calls: dict[str, Call] = {}
    for number, text in enumerate(file.read_text().splitlines()):
        line = json.loads(text)
        if "verb" in line:
            calls[line["call"]] = Call(line["verb"], line["asked"], number, line["study"])
        else:
            call = calls[line["call"]]
            call.ended, call.answer, call.told = number, line["answer"], line.get("told", {})
    return list(calls.values())


@dataclass
class Found:
    """What stands in the tables in the end; `budget` is the number of trials that people asked for."""

    budget: int
    rows: Sequence[Row]
    epochs: Mapping[int, Sequence[Epoch]]


def judge(calls: Sequence[Call], found: Found) -> Counter[str]:
    """How many faults of each kind there are in an ended study."""
    return Counter(
        {
            "lost": sum(1 for _ in _lost(calls, found)),
            "unexpected": sum(1 for _ in _unexpected(calls, found)),
            "duplicated": sum(1 for _ in _duplicated(calls, found)),
            "over budget": sum(1 for _ in _over_budget(calls, found)),
            "two owners of one fence": sum(n - 1 for n in Counter(c.claimed for c in calls if c.claimed).values()),
            "stale writes": sum(1 for _ in _stale(calls)),
        }
    )


def clean() -> Counter[str]:
    """The judgement of a study without a fault."""
    return Counter(dict.fromkeys(FAULTS, 0))


def examine(file: Path, store: Store, study: Study) -> Counter[str]:
    """The judgement of an ended study, or of an ended stage of one."""
    study = store.again(study) or study
    calls = [call for call in read(file) if call.study in (study.id, None)]
    return judge(calls, Found(study.trials, store.trials(study), store.epochs(study)))


def _lost(calls: Sequence[Call], found: Found) -> Iterator[object]:
    """Trials without an end, and what was acknowledged and is not there."""
    rows = {row.number: row for row in found.rows}
    there = {(number, epoch.epoch) for number, epochs in found.epochs.items() for epoch in epochs}
    yield from (number for number in range(found.budget) if number not in rows or not rows[number].state.ended)
    for call in (call for call in calls if call.done):
        for trial in [call.told] if call.claimed else call.writes:
            row = rows.get(trial["number"])
            yield from (epoch for epoch, _ in trial.get("epochs", ()) if (trial["number"], epoch) not in there)
            if row is None or row.fence < trial["fence"] or _differs(row, call, trial):
                yield call


def _differs(row: Row, call: Call, trial: Mapping[str, Any]) -> bool:
    """Whether a row has another end or other parameters than were acknowledged."""
    other_end = trial.get("end") and [row.state, row.value] != trial["end"]
    return bool(other_end) or (call.verb == "propose" and row.params != call.asked["params"])


def _unexpected(calls: Sequence[Call], found: Found) -> Iterator[object]:
    """What is there and nobody asked for, and trials begun although the study was paused or over."""
    asked = [trial for call in calls if call.answer != "refused" for trial in call.writes]
    epochs = {(trial["number"], epoch, _key(metrics)) for trial in asked for epoch, metrics in trial.get("epochs", ())}
    ends = {(trial["number"], *trial["end"]) for trial in asked if trial.get("end")}
    cancelled = any(call.verb in ("cancel", "stop") for call in calls)
    for number, recorded in found.epochs.items():
        yield from (epoch for epoch in recorded if (number, epoch.epoch, _key(epoch.metrics)) not in epochs)
    for row in found.rows:
        if row.state is State.CANCELLED:
            yield from () if cancelled else (row,)
        elif row.state.ended and (row.number, row.state, row.value) not in ends:
            yield row
    yield from _begun_in_spite_of(calls)


def _begun_in_spite_of(calls: Sequence[Call]) -> Iterator[Call]:
    """Claims that were asked for after a study was paused or cancelled, and answered before it went on."""
    ends = {"pause": ("resume", "cancel", "stop"), "cancel": ("extend",)}
    for halt in (call for call in calls if call.verb in ends and call.done):
        until = min((call.begun for call in calls if call.verb in ends[halt.verb] and call.begun > halt.begun), default=math.inf)
        inside = (call for call in calls if call.claimed and call.ended is not None and call.ended < until)
        yield from (call for call in inside if halt.ended is not None and halt.ended < call.begun)


def _duplicated(calls: Sequence[Call], found: Found) -> Iterator[object]:
    """Rows that are there twice, and trials that were proposed or ended more than once."""
    yield from _repeated(row.number for row in found.rows)
    yield from _repeated((number, epoch.epoch) for number, epochs in found.epochs.items() for epoch in epochs)
    done = [(call, trial) for call in calls if call.done for trial in call.writes]
    yield from _repeated({(trial["number"], trial["fence"]): trial["number"] for _, trial in done if trial.get("end")}.values())
    yield from _repeated(number for number, _ in {(t["number"], _key(c.asked["params"])) for c, t in done if c.verb == "propose"})


def _over_budget(calls: Sequence[Call], found: Found) -> Iterator[object]:
    """Trials beyond what was asked for, begun or only there."""
    yield from (row for row in found.rows if row.number >= found.budget)
    yield from (call for call in calls if call.claimed is not None and call.claimed[0] >= found.budget)


def _stale(calls: Sequence[Call]) -> Iterator[Call]:
    """Writes that happened although they were asked for when a newer claim was known."""
    claims = [(call.ended, *call.claimed) for call in calls if call.claimed and call.ended is not None]
    newest: dict[int, list[tuple[int, int]]] = {}
    for ended, number, fence in claims:
        newest.setdefault(number, []).append((ended, fence))
    for call in (call for call in calls if call.done):
        for trial in call.writes:
            if any(ended < call.begun and fence > trial["fence"] for ended, fence in newest.get(trial["number"], ())):
                yield call


def _repeated(keys: Iterable[Any]) -> Iterator[Any]:
    for key, count in Counter(keys).items():
        yield from [key] * (count - 1)


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)
