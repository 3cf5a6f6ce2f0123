"""What `versus` finds, for people and programs: lines of text, JSON, and a page with plots."""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.axes import Axes

from tuner import verdict
from tuner.race import Finalist
from tuner.review import finalists, looks
from tuner.review.looks import BLUE, GREEN, ORANGE
from tuner.review.markup import Markup, figure, join, section, table, tag
from tuner.review.page import page
from tuner.review.versus import Comparison, Equal, Side

NOTHING = "–"
COLOURS = (BLUE, ORANGE)
TITLES = {"race": "Winners on fresh seeds", "trials": "Best so far by trials", "seconds": "Best so far by seconds of training"}
EFFORTS = {"trials": "trials that have ended", "seconds": "seconds of training"}

Facts = list[tuple[str, str, str]]
"""What is said of both: a name, and a cell for each."""


def facts(found: Comparison) -> Facts:
    """How far both have come and how good their best is."""
    says: dict[str, Callable[[Side], str]] = {
        "trials": lambda side: f"{side.curve[-1].trials} ended, {len(side.review.ranked)} complete",
        "training": lambda side: f"{verdict.number(side.curve[-1].seconds)} s",
        "best in the search": lambda side: f"{verdict.number(side.best.value)} (trial {side.best.row.number})",
        "final race": lambda side: _raced(side.winner),
        "test split": _scored,
    }
    first, second = found.sides
    lines = [(name, say(first), say(second)) for name, say in says.items()]
    for equal in found.equal:
        a, b = map(_number, equal.values)
        lines.append((f"best after {_effort(equal)}", a, b))
    return lines


def _effort(equal: Equal) -> str:
    return "1 trial" if (equal.amount, equal.of) == (1, "trials") else f"{verdict.number(equal.amount)} {equal.of}"


def _raced(winner: Finalist | None) -> str:
    if winner is None or winner.mean is None or winner.interval is None:
        return NOTHING
    low, high = (verdict.number(end) for end in winner.interval)
    seeds = f"{len(winner.values)} seeds of trial {winner.trial}"
    return f"{verdict.number(winner.mean)} (95 %: {low} to {high}; {seeds})"


def _scored(side: Side) -> str:
    if side.score is None or side.score.value is None or side.score.interval is None:
        return NOTHING
    low, high = (verdict.number(end) for end in side.score.interval)
    return f"{side.score.metric} {verdict.number(side.score.value)} (95 %: {low} to {high})"


def _number(value: float | None) -> str:
    return NOTHING if value is None else verdict.number(value)


def settings(found: Comparison) -> Facts:
    """What the files say otherwise."""
    return [(key, a or NOTHING, b or NOTHING) for key, (a, b) in found.settings.items()]


def verdicts(found: Comparison) -> list[str]:
    """Who is ahead, a line for each way to judge it."""
    said = [found.lead(difference) for difference in found.differences]
    return said or ["whether one is better cannot be said: it takes a final race of both on the same rows, or two test scores"]


def told(found: Comparison) -> dict[str, Any]:
    """What a program reads."""
    return {
        "question": found.question,
        "metric": found.metric,
        "maximise": found.maximise,
        "studies": [_told_side(side) for side in found.sides],
        "equal_effort": [{equal.of: equal.amount, "best": list(equal.values)} for equal in found.equal],
        "differences": [
            {
                "by": difference.by,
                "metric": difference.metric,
                "first_minus_second": difference.value,
                "interval": difference.interval,
                "beyond_chance": difference.beyond_chance,
            }
            for difference in found.differences
        ],
        "settings": {key: list(pair) for key, pair in found.settings.items()},
        "cautions": found.cautions,
    }


def _told_side(side: Side) -> dict[str, Any]:
    winner, score, last = side.winner, side.score, side.curve[-1]
    race = {"trial": winner.trial, "mean": winner.mean, "interval": winner.interval, "values": winner.values} if winner else None
    test = {"metric": score.metric, "value": score.value, "interval": score.interval} if score else None
    return {
        "study": side.name,
        "trials": last.trials,
        "complete": len(side.review.ranked),
        "seconds": last.seconds,
        "best": {"trial": side.best.row.number, "value": side.best.value, "params": side.best.row.params},
        "race": race,
        "test": test,
    }


# The page ------------------------------------------------------------


def write(found: Comparison, folder: Path) -> Path:
    """Write `compare.html` and `plots/*.png` into the folder; returns the page's path."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    with looks.canvas():
        for name, axes in _drawn(found, still=True).items():
            (folder / "plots" / f"compare-{name}.png").write_bytes(looks.png(axes, TITLES[name]))
    target = folder / "compare.html"
    target.write_text(page(_title(found), _body(found)), encoding="utf-8")
    return target


def _title(found: Comparison) -> str:
    return f"{found.sides[0].name} and {found.sides[1].name}"


def _body(found: Comparison) -> Markup:
    head = ["", *(side.name for side in found.sides)]
    drawn = {
        name: looks.dress(made, looks.choices if name == "race" else looks.contrast)
        for name, made in _drawn(found, still=False).items()
    }
    plots = [
        join([tag("h3", TITLES[name]), figure(name, made, f"{TITLES[name]}, {found.metric}")]) for name, made in drawn.items()
    ]
    says = tag("ul", *(tag("li", line) for line in (*verdicts(found), *found.cautions)))
    differing = settings(found)
    files = table("What the study files say otherwise", head, differing, long={1, 2}) if differing else tag("p", "Nothing.")
    main = tag(
        "main",
        section("outcome", "Outcome", says, table(f"{found.metric} of both", head, facts(found), long={1, 2})),
        section("plots", "Plots", *plots),
        section("settings", "What differs in the files", files),
    )
    return join([tag("header", tag("h1", _title(found)), tag("p", f"Question: {found.question}.", class_="lead")), main])


# The drawings ------------------------------------------------------------


def _drawn(found: Comparison, *, still: bool) -> Mapping[str, Any]:
    lines = list(_lines(found))
    race = {"race": finalists.stills(lines, found.metric) if still else finalists.moving(lines, found.metric)} if lines else {}
    return {**race, **{effort: (_still if still else _course)(found, effort) for effort in EFFORTS}}


def _lines(found: Comparison) -> Iterator[finalists.Line]:
    """A line for each winner, and one for each score on the test split."""
    for side in found.sides:
        if (winner := side.winner) is not None:
            name = f"{side.name}, trial {winner.trial}"
            yield finalists.Line(name, winner.values, winner.mean, winner.interval, winner.searched, ORANGE)
        if (score := side.score) is not None:
            yield finalists.Line(f"{side.name}, test split", (), score.value, score.interval, None, GREEN)


def _points(side: Side, effort: str) -> tuple[Sequence[float], Sequence[float]]:
    """The course of the best so far, as far as there is one."""
    steps = [step for step in side.curve if step.best is not None]
    return [getattr(step, effort) for step in steps], [step.best for step in steps if step.best is not None]


def _course(found: Comparison, effort: str) -> go.Figure:
    figure = go.Figure(layout={"xaxis": {"title": EFFORTS[effort]}, "yaxis": {"title": found.metric}})
    for side, colour in zip(found.sides, COLOURS, strict=True):
        x, y = _points(side, effort)
        name = html.escape(looks.cut(side.name), quote=False)
        figure.add_scatter(
            x=x, y=y, name=name, mode="lines", line={"color": colour, "width": 2, "shape": "hv"},
            hovertemplate=f"%{{y:.5g}} after %{{x:.4g}} {effort}<extra></extra>",
        )  # fmt: skip
    return figure


def _still(found: Comparison, effort: str) -> Axes:
    axes: Axes = plt.subplots(figsize=(8, 4.5))[1]
    for side, colour in zip(found.sides, COLOURS, strict=True):
        axes.step(*_points(side, effort), where="post", color=colour, lw=2, label=side.name)
    axes.set(xlabel=EFFORTS[effort], ylabel=found.metric)
    axes.legend(loc="lower right" if found.maximise else "upper right")
    return axes
