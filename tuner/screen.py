"""What `tuner run` shows: a live table on a terminal, plain lines elsewhere. It reads the store and nothing else."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.owners import short
from tuner.store import Row, Sighting, Stage, Store, Study
from tuner.trial import Epoch, Params, State, ended

REFRESH = 0.5  # seconds
RECENT = 5
WATCH = 2.0  # seconds between two pictures of all studies
PACE = 600.0  # seconds, the last ones, over which the pace of a study is taken
MANY = 4  # trials of a worker that are named
STYLES = {State.COMPLETE: "green", State.PRUNED: "yellow", State.FAILED: "red", State.CANCELLED: "dim", State.RUNNING: "cyan"}


class Screen:
    """Progress of one study; a context manager whose `tick` may be called as often as one likes."""

    def __init__(self, store: Store, study: Study, console: Console) -> None:
        self._store = store
        self._study = study
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._drawn = 0.0
        self._began = time.monotonic()
        self._clock = store.clock()
        self._ended_before = ended(store.counts(study))
        self._draining = False
        self._search = study.stage is Stage.SEARCH

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
        elif error is None:
            self._print_ended()

    def drain(self) -> None:
        """Say that the study is stopping."""
        self._draining = True
        if self._live is None:
            self._console.print("stopping: the running trial is saved at the end of its epoch; Ctrl-C again stops at once")

    def tick(self) -> None:
        """Draw again when it is time to."""
        if time.monotonic() - self._drawn < REFRESH:
            return
        self._drawn = time.monotonic()
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        else:
            self._print_ended()

    def _print_ended(self) -> None:
        """One line for each trial that ended since the last time."""
        rows = self._store.recent(self._study, self._clock, limit=1_000)
        if not rows:
            return
        self._clock = max(row.ended or 0.0 for row in rows)
        done = ended(self._store.counts(self._study)) - len(rows)
        best = self._store.leaders(self._study, 1)
        for index, row in enumerate(rows, 1):
            trial = f"{'' if self._search else f'{self._study.stage} '}trial {row.number}"
            line = f"{done + index}/{self._study.trials} {trial} {row.state}{_value(row)} {parameters(row.params)}"
            self._console.print(Text(line), soft_wrap=True)
        if best and self._search:
            self._console.print(Text(f"best so far: trial {best[0].number} {_number(best[0].value)}"), soft_wrap=True)

    def _picture(self) -> RenderableType:
        counts = self._store.counts(self._study)
        done = ended(counts)
        spec = self._study.spec
        name = self._study.name if self._search else f"{self._study.name}, {self._study.stage}"
        title = Text.assemble((name, "bold"), f"  {spec.model.name} on {spec.data.source}, {spec.objective.metric}")
        title.no_wrap = True
        title.overflow = "ellipsis"
        parts: list[RenderableType] = [title, self._progress(done), _states(counts), self._best(), self._trials()]
        if not counts[State.RUNNING] and not self._draining and done < self._study.trials:
            parts.append(Text("starting: TensorFlow takes some seconds to load", style="dim"))
        if self._draining:
            parts.append(Text("stopping: saved at the end of the running epoch; Ctrl-C again stops at once", style="yellow"))
        return Group(*parts)

    def _progress(self, done: int) -> RenderableType:
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_row(ProgressBar(total=self._study.trials, completed=done), f"{done}/{self._study.trials} {self._rate(done)}")
        return row

    def _rate(self, done: int) -> str:
        elapsed = time.monotonic() - self._began
        fresh = done - self._ended_before
        if not fresh:
            return f"{_duration(elapsed)} gone"
        left = (self._study.trials - done) * elapsed / fresh
        return f"{fresh / elapsed * 3600:,.0f}/h  {_duration(elapsed)} gone, {_duration(left)} left"

    def _best(self) -> Text:
        leaders = self._store.leaders(self._study, 1)
        if not leaders:
            return Text("best    none yet", style="dim")
        best = leaders[0]
        text = Text.assemble("best    ", (_number(best.value), "bold green"), f" trial {best.number}  {parameters(best.params)}")
        text.no_wrap = True
        text.overflow = "ellipsis"
        return text

    def _trials(self) -> Table:
        """The running trials, and those that ended last."""
        running = self._store.trials(self._study, states=[State.RUNNING])
        epochs = self._store.epochs(self._study, [row.number for row in running]) if running else {}
        table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
        table.add_column("trial", justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        table.add_column(self._study.spec.objective.metric, justify="right", no_wrap=True)
        table.add_column("parameters", ratio=1, no_wrap=True, overflow="ellipsis")
        for row in [*self._store.recent(self._study, 0.0, RECENT), *running]:
            table.add_row(*map(Text, self._cells(row, epochs.get(row.number, []))), style=STYLES.get(row.state, ""))
        return table

    def _cells(self, row: Row, epochs: list[Epoch]) -> list[str]:
        value = epochs[-1].metrics.get(self._study.spec.objective.metric) if epochs else row.value
        state = f"{row.state} {row.failure}" if row.failure else str(row.state)
        epoch = f"{row.epoch}/{self._study.spec.train.epochs}"
        return [str(row.number), state, epoch, _number(value), parameters(row.params)]


def standing(store: Store, study: Study, counts: Mapping[State, int]) -> str:
    """What a study is doing, in one word."""
    searching, last = ended(counts) < study.trials, study
    while not searching and (stage := store.next(last)) is not None:
        last, counts = stage, store.counts(stage)
    if last.followed and ended(counts) == last.trials:
        return "ended"
    if study.paused:
        return "paused"
    return ("running" if counts[State.RUNNING] else "waiting") if searching else "racing"


def overview(store: Store, studies: Sequence[Study] | None) -> RenderableType:
    """All studies, or some, with their pace, and the workers."""
    shown = store.studies() if studies is None else [store.study(study.name) for study in studies]
    table = _columns("study", "state", "priority", "ended", "running", "failed", "best", "an hour", "left")
    for study in shown:
        table.add_row(*(Text(cell) for cell in _line(store, study)))
    present = workers(store.workers())
    return Group(table if shown else "no studies yet", *([Text(""), present] if present is not None else []))


def _line(store: Store, study: Study) -> list[str]:
    counts, best = store.counts(study), store.leaders(study, 1)
    window = min(PACE, store.clock() - study.created)
    pace = store.ended_since(study, window) * 3600 / max(window, 1.0)
    open_ = study.trials - ended(counts)
    return [
        study.name, standing(store, study, counts), str(study.priority), f"{ended(counts)}/{study.trials}",
        str(counts[State.RUNNING]), str(counts[State.FAILED]), _number(best[0].value) if best else "",
        f"{pace:,.0f}", _duration(open_ / pace * 3600) if pace and open_ else "",
    ]  # fmt: skip


def workers(seen: Sequence[Sighting]) -> RenderableType | None:
    """The workers, and when they were last seen."""
    if not seen:
        return None
    table = _columns("worker", "device", "seen", "trials", "engine", "message")
    for one in seen:
        trials = ", ".join(f"{study} {number}" for study, number in one.trials[:MANY])
        more = f" and {len(one.trials) - MANY} more" if len(one.trials) > MANY else ""
        ago = Text(f"{_duration(one.silence)} ago", style="bold red" if one.silent else "")
        trouble, engine = Text(one.worker.message, style="red"), Text(one.worker.engine)
        table.add_row(Text(one.worker.name), Text(one.worker.device), ago, Text(trials + more), engine, trouble)
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def watch(picture: Callable[[], RenderableType], console: Console) -> None:
    """Show a picture anew until Ctrl-C; where nothing can be drawn over, once."""
    if not console.is_terminal:
        console.print(picture())
        return
    with Live(picture(), console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            time.sleep(WATCH)
            live.update(picture(), refresh=True)


def _states(counts: Mapping[State, int]) -> Text:
    parts = [(f"{count} {state}", STYLES.get(state, "")) for state, count in counts.items() if count]
    return Text("trials  ") + Text(", ").join(Text(text, style=style) for text, style in parts)


def parameters(params: Params | None) -> str:
    """Parameters as `name=value` in one line; those of the chosen optimizer and schedule without its name."""
    given = params or {}
    return " ".join(f"{label}={_number(given[name])}" for name, label in short(given).items())


def _value(row: Row) -> str:
    return f" {_number(row.value)}" if row.value is not None else f" {row.failure or ''} {row.message}".rstrip()


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
