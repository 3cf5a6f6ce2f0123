"""The values of a choice side by side, drawn: a line of points per value, the best value on top, with its median."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.axes import Axes

from tuner.review import looks
from tuner.review.choices import Reached, Tally, compared, reached, tallies
from tuner.review.looks import BLUE, GREY, ORANGE, clipped, cut
from tuner.review.results import Review
from tuner.trial import State

VALUES = 60  # lines in a strip; the worst and those never tried are left out
POINTS = 1_000  # trials in a strip
GOLDEN = 0.618  # steps of this share never fall on each other: points of equal value lie beside each other
MARKS = {State.PRUNED: (GREY, "circle-open"), State.COMPLETE: (BLUE, "circle")}


class Point(NamedTuple):
    """A trial in a strip: where it is drawn, its number and its true value."""

    x: float
    y: float
    number: int
    value: float


@dataclass(frozen=True)
class Strip:
    """One parameter's picture before a library draws it; the lines stand at 0, 1, ... from the top.

    A median is where it is drawn, its line, and its true value.
    """

    title: str
    labels: Sequence[str]
    points: Mapping[State, Sequence[Point]]
    medians: Sequence[tuple[float, int, float]]


def lacks(review: Review) -> str:
    """Why there is no strip; empty when there is one."""
    if not compared(review):
        return "No searched parameter is a choice between words."
    return "" if strips(review) else "No trial has come to a value yet."


def strips(review: Review) -> dict[str, Strip]:
    """A strip for each parameter whose values are compared, once a trial has come to a value with it."""
    found = {name: tallies(review, name)[:VALUES] for name in compared(review)}
    return {f"choices-{name}": _strip(review, name, shown) for name, shown in found.items() if shown[0].best is not None}


def note(review: Review) -> str:
    """What is not drawn, or not where it is."""
    count = len(_all(review))
    part = f"Drawn are about {POINTS:,} of {count:,} trials, evenly by rank; the medians are of all." if count > POINTS else ""
    return f"{note_far(review)} {part}".strip()


def note_far(review: Review) -> str:
    """What is not drawn where it is."""
    return looks.note_far(_all(review), maximise=review.study.spec.objective.maximise)


def _all(review: Review) -> list[float]:
    return [entry.value for entry in reached(review.rows)]


def edge(review: Review) -> float | None:
    """The worst value that is drawn where it is; None when all are."""
    return clipped(_all(review), maximise=review.study.spec.objective.maximise)


def drawn(review: Review, limit: float | None, value: float) -> float:
    """The value, or the limit when it lies behind it."""
    worse = max if review.study.spec.objective.maximise else min
    return value if limit is None else worse(value, limit)


def _strip(review: Review, name: str, shown: Sequence[Tally]) -> Strip:
    limit = edge(review)
    every = 1 + sum(len(tally.reached) for tally in shown) // POINTS
    points: dict[State, list[Point]] = {state: [] for state in MARKS}
    for line, tally in enumerate(shown):
        for entry in tally.reached[::every]:
            points[entry.row.state].append(_point(entry, drawn(review, limit, entry.value), line))
    middles = [(line, tally.median) for line, tally in enumerate(shown) if tally.median is not None]
    medians = [(drawn(review, limit, middle), line, middle) for line, middle in middles]
    return Strip(f"{review.study.spec.objective.metric} by {name}", [_label(tally) for tally in shown], points, medians)


def _point(entry: Reached, x: float, line: int) -> Point:
    number = entry.row.number
    return Point(x, line + 0.5 * ((number * GOLDEN) % 1 - 0.5), number, entry.value)


def _label(tally: Tally) -> str:
    return f"{cut(tally.choice)} ({tally.trials or 'not tried'})"


# The drawings ------------------------------------------------------------


def moving(strip: Strip) -> go.Figure:
    """For the page."""
    lines = list(range(len(strip.labels)))
    figure = go.Figure(layout={"xaxis": {"title": strip.title}})
    figure.update_yaxes(tickvals=lines, ticktext=strip.labels, range=[len(lines) - 0.5, -0.5], zeroline=False)
    for state, points in _drawn(strip):
        colour, symbol = MARKS[state]
        figure.add_scatter(
            x=[p.x for p in points], y=[p.y for p in points], customdata=[(p.number, p.value) for p in points], name=state.value,
            mode="markers", marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.8},
            hovertemplate="trial %{customdata[0]}: %{customdata[1]:.5g}<extra></extra>",
        )  # fmt: skip
    x, y, true = zip(*strip.medians, strict=True)
    figure.add_scatter(
        x=x, y=y, customdata=true, name="median", mode="markers", hovertemplate="median %{customdata:.5g}<extra></extra>",
        marker={"color": ORANGE, "symbol": "line-ns-open", "size": 14, "line": {"width": 3, "color": ORANGE}},
    )  # fmt: skip
    return figure


def stills(strip: Strip) -> Axes:
    """For a PNG file."""
    lines = range(len(strip.labels))
    axes: Axes = plt.subplots(figsize=(7, 1.5 + 0.3 * len(lines)))[1]
    for state, points in _drawn(strip):
        colour, symbol = MARKS[state]
        fill = "none" if symbol.endswith("open") else colour
        axes.scatter([p.x for p in points], [p.y for p in points], s=22, fc=fill, ec=colour, label=state.value, zorder=3)
    x, y, _ = zip(*strip.medians, strict=True)
    axes.scatter(x, y, s=130, marker="|", linewidths=2.5, color=ORANGE, label="median", zorder=4)
    axes.set(xlabel=strip.title, ylim=(len(lines) - 0.5, -0.5))
    axes.set_yticks(lines, strip.labels)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return axes


def _drawn(strip: Strip) -> Iterator[tuple[State, Sequence[Point]]]:
    yield from ((state, points) for state, points in strip.points.items() if points)


def draw(review: Review, *, still: bool) -> Mapping[str, Any]:
    """The strips as Matplotlib's axes or as Plotly's figures, by the name of the part."""
    return {name: stills(strip) if still else moving(strip) for name, strip in strips(review).items()}
