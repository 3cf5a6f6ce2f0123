"""The objective against a whole number that shapes the network, a line for each value of a choice beside it.

As in accuracy by depth, with and without residual connections. A trial counts with its value, that of its best epoch, whether it
was complete or pruned.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from typing import Any

import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tuner.dimension import Dimension
from tuner.review.choices import reached
from tuner.review.looks import BLUE, GREEN, GREY, ORANGE, RED, cut
from tuner.review.results import Review
from tuner.review.strips import drawn, edge
from tuner.spec import Choice, IntRange
from tuner.trial import Value

PARTS = 6  # pictures, those of the most important parameters
NUMBERS = 40  # values along the horizontal axis
COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)  # and lines


@dataclass(frozen=True)
class Line:
    """The trials of one value of the choice: (number, value, trial), ordered by number, the better first."""

    label: str
    colour: str
    points: list[tuple[int, float, int]]

    @property
    def best(self) -> list[tuple[int, float, int]]:
        """The best point of every number, in order."""
        return list({number: (number, value, trial) for number, value, trial in reversed(self.points)}.values())[::-1]


def lacks(review: Review) -> str:
    """Why there is no picture; empty when there is one."""
    if not _pairs(review):
        return "No whole number that shapes the network is searched beside a choice of a few."
    return "" if contrasts(review) else "No choice beside a whole number was tried with two values yet."


def contrasts(review: Review) -> dict[tuple[str, str], list[Line]]:
    """The lines of a number and a choice that have two or more of them, one of these with two numbers."""
    found = ((pair, _lines(review, *pair)) for pair in _pairs(review))
    several = ((pair, lines) for pair, lines in found if len(lines) > 1 and any(len(line.best) > 1 for line in lines))
    return dict(islice(several, PARTS))


def _pairs(review: Review) -> list[tuple[str, str]]:
    """Numbers beside choices, the most important first."""
    order = list(review.importance)
    free = sorted(review.space.free.values(), key=lambda d: order.index(d.name) if d.name in order else len(order))
    network = review.space.network
    known = {} if network is None else {name for name, limits in network.parameters.items() if limits.shapes}
    mine = [d for d in free if d.name in known]
    return [(a.name, b.name) for a, b in product(filter(_counts, mine), filter(_chooses, mine))]


def _counts(dimension: Dimension) -> bool:
    few = dimension.count <= NUMBERS
    match dimension.parameter:
        case IntRange():
            return few
        case Choice(choice=choices):
            return few and all(type(choice) is int for choice in choices)
    return False


def _chooses(dimension: Dimension) -> bool:
    match dimension.parameter:
        case Choice(choice=choices):
            return 2 <= len(choices) <= len(COLOURS) and isinstance(choices[0], str | bool)
    return False


def _lines(review: Review, number: str, choice: str) -> list[Line]:
    sign = -1 if review.study.spec.objective.maximise else 1
    found: dict[Value, list[tuple[int, float, int]]] = {}
    for entry in reached(review.rows):
        params = entry.row.params or {}
        if number in params and choice in params:
            found.setdefault(params[choice], []).append((int(params[number]), entry.value, entry.row.number))
    named = sorted(found.items(), key=lambda item: str(item[0]))
    return [
        Line(f"{choice} {_word(value)}", colour, sorted(points, key=lambda p: (p[0], sign * p[1])))
        for (value, points), colour in zip(named, COLOURS, strict=False)
    ]


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else cut(str(value))


# The drawings ------------------------------------------------------------


def draw(review: Review, *, still: bool) -> Mapping[str, Any]:
    """The pictures as Matplotlib's axes or as Plotly's figures, by the name of the part."""
    metric, paint = review.study.spec.objective.metric, _still if still else _moving
    place = partial(drawn, review, edge(review))
    return {f"contrast-{a}-{b}": paint(lines, a, metric, place) for (a, b), lines in contrasts(review).items()}


def _moving(lines: list[Line], number: str, metric: str, place: Callable[[float], float]) -> go.Figure:
    figure = go.Figure(layout={"xaxis": {"title": number}, "yaxis": {"title": metric}})
    for line, points, looks in _traces(lines):
        x, y, trials = zip(*points, strict=True)
        figure.add_scatter(
            x=x, y=list(map(place, y)), customdata=list(zip(trials, y, strict=True)),
            name=line.label, legendgroup=line.label, showlegend=looks == "lines",
            mode=looks, line={"color": line.colour, "width": 2}, marker={"color": line.colour, "size": 7, "opacity": 0.7},
            hovertemplate=f"trial %{{customdata[0]}}, {number} %{{x}}: %{{customdata[1]:.5g}}<extra></extra>",
        )  # fmt: skip
    return figure


def _still(lines: list[Line], number: str, metric: str, place: Callable[[float], float]) -> Axes:
    axes: Axes = plt.subplots()[1]
    for line, points, looks in _traces(lines):
        x, y = [x for x, _, _ in points], [place(value) for _, value, _ in points]
        if looks == "lines":
            axes.plot(x, y, color=line.colour, lw=2, label=line.label)
        else:
            axes.scatter(x, y, color=line.colour, s=22, alpha=0.7)
    axes.set(xlabel=number, ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return axes


def _traces(lines: list[Line]) -> Iterator[tuple[Line, list[tuple[int, float, int]], str]]:
    for line in lines:
        yield line, line.points, "markers"
        yield line, line.best, "lines"
