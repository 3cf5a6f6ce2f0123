"""The Pareto front, drawn and as a table: the metric against each cost that the study asks for, with the bounds of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.axes import Axes

from tuner.pareto import breaking, distinct
from tuner.review.looks import BLUE, BROKEN, GREY, ORANGE, RED, WIDE, clipped
from tuner.review.markup import Markup, join, table, tag
from tuner.review.results import Review
from tuner.spec.aims import COSTS, amount

LEADERS = 20  # of the front that the table has
FACTOR = WIDE / 10  # an axis that spans a larger one is logarithmic


@dataclass(frozen=True)
class Cloud:
    """Trials that are drawn alike: numbers, costs, values; `joined` are connected by steps, as a front of two objectives is."""

    label: str
    colour: str
    moving: str
    still: str
    points: Sequence[tuple[int, float, float]]
    joined: bool = False


@dataclass(frozen=True)
class Picture:
    """The metric against one cost; `bound` is the most that it may be, if there is a constraint."""

    cost: str
    metric: str
    clouds: Sequence[Cloud]
    bound: float | None

    @property
    def log(self) -> bool:
        """Whether the axis of the cost is logarithmic."""
        costs = [cost for cloud in self.clouds for _, cost, _ in cloud.points]
        return min(costs) > 0 and max(costs) > FACTOR * min(costs)


def asked(review: Review) -> bool:
    """Whether the study has more to draw than one objective."""
    return bool(review.study.spec.costs)


def lacks(review: Review) -> str:
    """Why there is no picture; empty when there is one."""
    if not asked(review):
        return "The study has one objective and no constraints."
    return "" if review.ranked else "No trial has completed yet."


def _edge(review: Review) -> float | None:
    """The worst value that is drawn where it is; those of the front always are."""
    maximise = review.study.spec.objective.maximise
    edge, worse = clipped([entry.value for entry in review.ranked], maximise=maximise), min if maximise else max
    return edge if edge is None else worse(edge, *(row.value for row in review.front if row.value is not None))


def note(review: Review) -> str:
    """What is drawn elsewhere."""
    edge, maximise = _edge(review), review.study.spec.objective.maximise
    if edge is None or not any(entry.value < edge if maximise else entry.value > edge for entry in review.ranked):
        return ""
    return f"Values worse than {edge:.4g} are drawn at {edge:.4g}."


def _picture(review: Review, cost: str) -> Picture:
    spec, front, edge = review.study.spec, {row.number for row in review.front}, _edge(review)
    worse = max if spec.objective.maximise else min
    clouds: dict[str, list[tuple[int, float, float]]] = {"other": [], "broken": [], "front": []}
    for entry in review.ranked:
        kind = "broken" if entry.broken else "front" if entry.row.number in front else "other"
        value = entry.value if edge is None else worse(entry.value, edge)
        clouds[kind].append((entry.row.number, entry.row.costs[cost], value))
    several, joined = bool(spec.objective.further), spec.objective.further == (cost,)
    best = "on the front" if several else "the best"
    found = (
        Cloud("dominated" if several else "complete", BLUE, "circle", "o", clouds["other"]),
        Cloud(BROKEN, RED, "x", "x", clouds["broken"]),
        Cloud(best, ORANGE, "diamond", "D", sorted(clouds["front"], key=lambda point: point[1:]), joined),
    )
    bound = next((constraint.most for constraint in spec.constraints if constraint.cost == cost), None)
    return Picture(cost, spec.objective.metric, [cloud for cloud in found if cloud.points], bound)


def draw(review: Review, *, still: bool) -> Mapping[str, Any]:
    """A picture for each cost, as Matplotlib's axes or as Plotly's figure."""
    pictures = (_picture(review, cost) for cost in review.study.spec.costs)
    return {f"front-{picture.cost}": _still(picture) if still else _moving(picture) for picture in pictures}


def _moving(picture: Picture) -> go.Figure:
    figure = go.Figure(layout={"xaxis": {"title": picture.cost, "type": "log" if picture.log else "linear"}})
    figure.update_yaxes(title=picture.metric)
    for cloud in picture.clouds:
        numbers, costs, values = zip(*cloud.points, strict=True)
        figure.add_scatter(
            x=costs, y=values, customdata=numbers, name=cloud.label, mode="lines+markers" if cloud.joined else "markers",
            line={"color": cloud.colour, "width": 2, "shape": "hv"},
            marker={"color": cloud.colour, "size": 6 if cloud.colour == BLUE else 9, "symbol": cloud.moving, "opacity": 0.85},
            hovertemplate=f"trial %{{customdata}}: {picture.cost} %{{x:.6g}}, %{{y:.5g}}<extra></extra>",
        )  # fmt: skip
    if picture.bound is not None:
        figure.add_vline(x=picture.bound, line={"color": GREY, "dash": "dash"})
    return figure


def _still(picture: Picture) -> Axes:
    axes: Axes = plt.subplots()[1]
    for cloud in picture.clouds:
        _, costs, values = zip(*cloud.points, strict=True)
        if cloud.joined:
            axes.step(costs, values, where="post", color=cloud.colour, linewidth=1.5)
        axes.scatter(costs, values, s=36, marker=cloud.still, color=cloud.colour, label=cloud.label, alpha=0.85, zorder=3)
    if picture.bound is not None:
        axes.axvline(picture.bound, color=GREY, linestyle="--")
    axes.set(xlabel=picture.cost, ylabel=picture.metric)
    if picture.log:
        axes.set_xscale("log")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return axes


def section(review: Review) -> tuple[str, Markup]:
    """What the report says of a study with several objectives or with constraints, under a title."""
    spec, parts = review.study.spec, []
    for constraint, count in breaking(spec, review.rows).items():
        parts.append(tag("p", f"Constraint {constraint}: broken by {count:,} of {len(review.rows):,} trials."))
    if spec.objective.further:
        parts += [tag("p", _SAYS, class_="quiet"), _table(review)]
    parts += [tag("p", f"{name}: {COSTS[name]}.", class_="quiet") for name in spec.costs]
    return ("Pareto front" if spec.objective.further else "Constraints"), join(parts)


_SAYS = (
    "No other complete trial that keeps to the constraints is as good as one of these in every objective and better in one. The "
    "values are those of the search: each is the best of several by luck in part, where many trials have about the same costs."
)


def _table(review: Review) -> Markup:
    spec = review.study.spec
    points = distinct(spec, review.front)
    shown = points[:LEADERS]
    names = [dimension.name for dimension in review.varied]
    caption = (
        f"{len(shown)} of {len(points):,} points of the front, the best {spec.objective.metric} first; of the "
        f"{len(review.front):,} trials on it the first at each point stands here"
    )
    rows = [
        [
            str(row.number),
            f"{row.value:.5g}",
            *(amount(name, row.costs[name]) for name in spec.costs),
            ", ".join(f"{name} {_short(row.params[name])}" for name in names if row.params and name in row.params),
        ]
        for row in shown
    ]
    head = ["Trial", spec.objective.metric, *spec.costs, "Configuration"]
    return table(caption, head, rows, right=set(range(len(head) - 1)), long={len(head) - 1})


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
