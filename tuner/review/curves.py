"""The learning curves of a study's trials, those of a fate in one colour."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tuner.review.looks import BLUE, GREEN, GREY, ORANGE, RED, clipped
from tuner.review.results import Review, sample
from tuner.trial import Epoch, State

CURVES = 50  # of complete trials, and as many of the others
FAR = 50  # as `looks.FAR`, for points of curves, which begin far away


def lacks(review: Review) -> str:
    """Why there are no curves; empty when there are."""
    return "" if review.epochs else "No trial has finished an epoch yet."


def note(review: Review) -> str:
    """What is not drawn."""
    groups, objective = _groups(review), review.study.spec.objective
    drawn = sum(len(group.curves) for group in groups)
    part = f"Drawn are {drawn} of {len(review.epochs):,} curves." if drawn < len(review.epochs) else ""
    cut = _shown(groups, objective.metric, maximise=objective.maximise) is not None
    return f"{part} {'Some points lie beyond the axis.' if cut else ''}".strip()


def draw(review: Review, *, still: bool) -> Axes | go.Figure:
    """The curves as Matplotlib's axes or as Plotly's figure."""
    groups, objective = _groups(review), review.study.spec.objective
    paint = _still if still else _moving
    return paint(groups, objective.metric, _shown(groups, objective.metric, maximise=objective.maximise))


@dataclass(frozen=True)
class _Group:
    """Learning curves that are drawn alike."""

    label: str
    colour: str
    opacity: float
    width: float
    curves: Sequence[Sequence[Epoch]]


def _groups(review: Review) -> list[_Group]:
    """The curves that are drawn, the most important last, on top of the others."""
    top = {entry.row.number for entry in review.ranked[:1]}

    def group(label: str, colour: str, opacity: float, width: float, numbers: Iterable[int]) -> _Group:
        return _Group(label, colour, opacity, width, [review.epochs[n] for n in numbers if n in review.epochs])

    groups = (
        group("pruned", GREY, 0.45, 1, _begun(review, State.PRUNED)),
        group("failed", RED, 0.6, 1, _begun(review, State.FAILED)),
        group("not ended", GREEN, 0.6, 1, _begun(review, State.RUNNING, State.QUEUED, State.CANCELLED)),
        group("complete", BLUE, 0.6, 1, sorted(sample(review.ranked, CURVES) - top)),
        group("the best", ORANGE, 1.0, 3, top),
    )
    return [group for group in groups if group.curves]


def _begun(review: Review, *states: State) -> list[int]:
    """The numbers of trials in these states that have a curve; at most `CURVES`, evenly."""
    numbers = [row.number for row in review.rows if row.state in states and row.number in review.epochs]
    return numbers if len(numbers) <= CURVES else [numbers[i * len(numbers) // CURVES] for i in range(CURVES)]


def _shown(groups: Sequence[_Group], metric: str, *, maximise: bool) -> tuple[float, float] | None:
    """The part of the vertical axis that is shown when some points are far away; None when all are shown."""
    points = [e.metrics.get(metric, math.nan) for group in groups for curve in group.curves for e in curve]
    finite = [point for point in points if math.isfinite(point)]
    edge = clipped(finite, maximise=maximise, far=FAR) if finite else None
    if edge is None:
        return None
    near = [point for point in finite if (point >= edge if maximise else point <= edge)]
    margin = 0.05 * (max(near) - min(near))
    return min(near) - margin, max(near) + margin


def _moving(groups: Sequence[_Group], metric: str, shown: tuple[float, float] | None) -> go.Figure:
    figure = go.Figure(layout={"xaxis": {"title": "Epoch"}, "yaxis": {"title": metric, "range": shown}})
    for group in groups:
        # One trace per group: the curves stand behind each other, with a gap between two.
        gap = (None, None, None)
        x, y, numbers = zip(*(point for curve in group.curves for point in (*_points(curve, metric), gap)), strict=True)
        figure.add_scatter(
            x=x, y=y, customdata=numbers, name=group.label, mode="lines+markers", opacity=group.opacity,
            line={"color": group.colour, "width": group.width}, marker={"size": 2 + group.width},
            hovertemplate="trial %{customdata}, epoch %{x}: %{y:.5g}<extra></extra>",
        )  # fmt: skip
    return figure


def _points(curve: Sequence[Epoch], metric: str) -> Iterator[tuple[int, float | None, int]]:
    for e in curve:
        value = e.metrics.get(metric, math.nan)
        yield e.epoch, value if math.isfinite(value) else None, e.number


def _still(groups: Sequence[_Group], metric: str, shown: tuple[float, float] | None) -> Axes:
    axes: Axes = plt.subplots()[1]
    for group in groups:
        for index, curve in enumerate(group.curves):
            x, y, _ = zip(*_points(curve, metric), strict=True)
            label = group.label if index == 0 else None
            axes.plot(
                x, np.array(y, dtype=float), color=group.colour, alpha=group.opacity, lw=group.width, marker=".", label=label
            )
    axes.set(xlabel="Epoch", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if shown is not None:
        axes.set_ylim(shown)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return axes
