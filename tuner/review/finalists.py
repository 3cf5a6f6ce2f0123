"""The final race, drawn: a line for each finalist with its seeds, their mean and its value in the search; and the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.axes import Axes

from tuner.interval import Interval
from tuner.race import Finalist, Result
from tuner.review.looks import BLUE, GREEN, GREY, ORANGE
from tuner.review.results import Review
from tuner.spec.aims import amounts


@dataclass(frozen=True)
class Line:
    """A line of the picture: what it is called, its seeds, a value with its interval, and the value in the search."""

    label: str
    seeds: Sequence[float]
    value: float | None
    interval: Interval | None
    searched: float | None
    colour: str


def lacks(review: Review) -> str:
    """Why there is no picture; empty when there is one."""
    if review.race is None:
        return "There was no final race."
    return "" if any(one.values for one in review.race.finalists) else "No training of the final race has ended yet."


def _lines(race: Result) -> list[Line]:
    lines = [_line(one) for one in race.finalists]
    if (score := race.score) is not None and score.value is not None:
        lines.append(Line("the winner, test split", (), score.value, score.interval, None, GREEN))
    return lines


def _line(one: Finalist) -> Line:
    label = ", ".join(filter(None, (one.label, one.fate, amounts(one.costs))))
    return Line(label, one.values, one.mean, one.interval, one.searched, ORANGE)


def draw(review: Review, *, still: bool) -> Mapping[str, Any]:
    """The picture as Matplotlib's axes or as Plotly's figure."""
    assert review.race is not None  # else it lacks something
    lines, metric = _lines(review.race), review.study.spec.objective.metric
    return {"race": stills(lines, metric) if still else moving(lines, metric)}


def moving(lines: Sequence[Line], metric: str) -> go.Figure:
    """For a page."""
    places = list(range(len(lines)))
    figure = go.Figure(layout={"xaxis": {"title": metric}})
    figure.update_yaxes(tickvals=places, ticktext=[line.label for line in lines], range=[len(lines) - 0.5, -0.5], zeroline=False)
    for place, line in enumerate(lines):
        if line.interval is not None:
            around = {"x": line.interval, "y": [place, place], "mode": "lines", "line": {"color": line.colour, "width": 4}}
            figure.add_scatter(**around, showlegend=False, hoverinfo="skip")
    for mark in _marks(lines):
        figure.add_scatter(
            x=[x for x, _ in mark.at], y=[y for _, y in mark.at], name=mark.name, mode="markers",
            marker={"size": 12, "color": mark.colour, "symbol": mark.moving, "line": {"width": 3, "color": mark.colour}},
            hovertemplate=f"{mark.name}: %{{x:.5g}}<extra></extra>",
        )  # fmt: skip
    return figure


class Mark(NamedTuple):
    """What is marked on the lines, where, and how."""

    name: str
    at: Sequence[tuple[float, int]]
    colour: str
    moving: str
    still: str


def _marks(lines: Sequence[Line]) -> list[Mark]:
    seeds = [(value, place) for place, line in enumerate(lines) for value in line.seeds]
    means = [(line.value, place) for place, line in enumerate(lines) if line.value is not None]
    searched = [(line.searched, place) for place, line in enumerate(lines) if line.searched is not None]
    return [
        Mark("on a fresh seed", seeds, BLUE, "circle-open", "o"),
        Mark("mean, or score", means, ORANGE, "line-ns-open", "|"),
        Mark("in the search", searched, GREY, "diamond", "D"),
    ]


def stills(lines: Sequence[Line], metric: str) -> Axes:
    """For a PNG file."""
    axes: Axes = plt.subplots(figsize=(8, 1.5 + 0.35 * len(lines)))[1]
    for place, line in enumerate(lines):
        if line.interval is not None:
            axes.plot(line.interval, [place, place], color=line.colour, linewidth=3, zorder=2)
    for mark in _marks(lines):
        hollow: dict[str, Any] = {"ec": mark.colour, "fc": "none"} if mark.moving == "circle-open" else {"color": mark.colour}
        x, y = [x for x, _ in mark.at], [y for _, y in mark.at]
        size = 200 if mark.still == "|" else 60
        axes.scatter(x, y, s=size, marker=mark.still, **hollow, label=mark.name, linewidths=1.5, zorder=3)
    axes.set(xlabel=metric, ylim=(len(lines) - 0.5, -0.5))
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return axes
