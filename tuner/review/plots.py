"""The plots of a study: Optuna's own, on Plotly for the page and on Matplotlib for files; those that are ours have a module each.

Optuna offers each plot twice under one name and signature, so a kind is written once and takes the library as an argument. What
is drawn is bounded, so that 3,000 trials make a plot that can still be read and moved.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from types import ModuleType
from typing import Any

import optuna.study
import plotly.graph_objects as go
from optuna import visualization
from optuna.trial import FrozenTrial, create_trial
from optuna.visualization import matplotlib as still

from tuner.errors import BadInput
from tuner.owners import is_owned
from tuner.review import contrast, curves, finalists, fronts, looks, strips
from tuner.review.looks import clipped
from tuner.review.results import Review, optuna_study, placeholder, sample
from tuner.trial import State

POINTS = 400  # trials in a slice
LINES = 120  # trials in the parallel coordinates and in a contour, whose size grows with the square
BARS = 500  # trials in the timeline
SLICES = 6  # parameters that get a slice; of the first three, each pair gets a contour


@dataclass(frozen=True)
class Plot:
    """A plot of one study: its figures by the name of the part, or why there are none; `note` says what was left out."""

    parts: Mapping[str, go.Figure]
    missing: str = ""
    note: str = ""


Library = ModuleType
"""`optuna.visualization` or `optuna.visualization.matplotlib`: the same functions, figures from one, axes from the other."""


@dataclass(frozen=True)
class Kind:
    """A row of the table of plots.

    `caption` says how to read it, `lacks` why it cannot be drawn (empty when it can), `draw` draws with one of the two
    libraries and `polish` gives Plotly's figure our colours; `note` says what was left out. A `wide` one scrolls sideways on a
    narrow screen. One that a study has not `asked` for is not in its report.
    """

    title: str
    caption: str
    lacks: Callable[[Review], str]
    draw: Callable[[Review, Library], Mapping[str, Any]]
    polish: looks.Polish
    note: Callable[[Review], str] = lambda review: ""
    wide: bool = False
    asked: Callable[[Review], bool] = lambda review: True


def plot(review: Review, kind: str) -> Plot:
    """An interactive plot: `history`, `importance`, ... (the keys of `KINDS`). Raises `BadInput` for another name."""
    row = _kind(kind)
    if lacking := row.lacks(review):
        return Plot({}, missing=lacking)
    with _quiet():
        parts = row.draw(review, visualization)
    return Plot({name: looks.dress(figure, row.polish) for name, figure in parts.items()}, note=row.note(review))


def pngs(review: Review, kind: str) -> dict[str, bytes]:
    """The parts of a plot as PNG files; empty when it cannot be drawn. Raises `BadInput` for an unknown name."""
    row = _kind(kind)
    if row.lacks(review):
        return {}
    with _quiet(), looks.canvas():
        return {name: looks.png(axes, row.title) for name, axes in row.draw(review, still).items()}


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise BadInput(f"no plot {name!r}; there are: {', '.join(KINDS)}")
    return KINDS[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings: experimental functions, few trials, an interpolation that did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# What is drawn ------------------------------------------------------------


def _edge(review: Review) -> float | None:
    return clipped([entry.value for entry in review.ranked], maximise=review.study.spec.objective.maximise)


def _visible(review: Review, most: int, *, numbered: bool = False, bounded: bool = False) -> optuna.study.Study:
    """An Optuna study of at most so many complete trials, far values at the edge.

    `numbered` keeps their numbers by a placeholder for each other trial, which takes Optuna as long as the trial would;
    `bounded` tells which trials break a constraint.
    """
    kept, edge = sample(review.ranked, most), _edge(review)
    broken = {entry.row.number: entry.broken for entry in review.ranked if bounded}
    worse = max if review.study.spec.objective.maximise else min

    def shown(trial: FrozenTrial) -> FrozenTrial:
        if trial.number not in kept or trial.value is None:
            return placeholder(State.QUEUED)
        value = trial.value if edge is None else worse(trial.value, edge)
        made = create_trial(value=value, params=trial.params, distributions=trial.distributions)
        for constraint in broken.get(trial.number, ()):
            made.set_constraint(str(constraint), 1.0)
        return made

    return optuna_study(review.study, [shown(trial) for trial in review.trials if numbered or trial.number in kept])


def _important(review: Review) -> list[str]:
    """The free parameters of the complete trials, the most important first; in the order of the space while none is known."""
    present = {name for entry in review.ranked for name in entry.row.params or {}}
    return [name for name in (review.importance or review.space.free) if name in present]


def _across(review: Review) -> list[str]:
    """The axes of the parallel coordinates: of what belongs to one optimizer or schedule only what all of the trials have."""
    return [name for name in _important(review) if not is_owned(name) or all(name in (e.row.params or {}) for e in review.ranked)]


def _pairs(review: Review) -> list[tuple[str, str]]:
    """The pairs among the three most important parameters that stand side by side in three trials, with two values each."""
    return [pair for pair in combinations(_important(review)[:3], 2) if _fills_a_plane(review, pair)]


def _fills_a_plane(review: Review, pair: tuple[str, str]) -> bool:
    a, b = pair
    params = [entry.row.params or {} for entry in review.ranked]
    points = [(p[a], p[b]) for p in params if a in p and b in p]
    return len(points) >= 3 and all(len(set(side)) >= 2 for side in zip(*points, strict=True))


# Why a plot cannot be drawn ------------------------------------------------------------


def _lacks_trials(least: int) -> Callable[[Review], str]:
    def lacks(review: Review) -> str:
        count = len(review.ranked)
        if count >= least:
            return ""
        wanted = f"this plot needs {least}" if least > 1 else "this plot shows complete trials"
        return f"{_so_many(count)}; {wanted}."

    return lacks


def _so_many(count: int) -> str:
    return {0: "No trial has completed yet", 1: "One trial has completed"}.get(count, f"{count} trials have completed")


def _lacks_difference(review: Review) -> str:
    if lacking := _lacks_trials(2)(review):
        return lacking
    same = len({entry.value for entry in review.ranked}) == 1
    return "All complete trials have the same value; there is nothing to tell apart." if same else ""


def _lacks_parameters(review: Review) -> str:
    if lacking := _lacks_difference(review):
        return lacking
    return "" if len(_important(review)) >= 2 else "Fewer than two parameters are searched; there is nothing to compare."


def _lacks_axes(review: Review) -> str:
    if lacking := _lacks_parameters(review):
        return lacking
    return "" if len(_across(review)) >= 2 else "The complete trials share fewer than two parameters; there is nothing to cross."


def _lacks_slice(review: Review) -> str:
    return _lacks_trials(2)(review) or ("" if _important(review) else "Every parameter is fixed.")


def _lacks_plane(review: Review) -> str:
    if lacking := _lacks_trials(3)(review) or _lacks_parameters(review):
        return lacking
    return "" if _pairs(review) else "No two important parameters differ side by side in three complete trials."


def _lacks_start(review: Review) -> str:
    return "" if any(row.started is not None for row in review.rows) else "No trial has begun yet."


# The drawings ------------------------------------------------------------


def _history(review: Review, library: Library) -> Mapping[str, Any]:
    visible = _visible(review, len(review.rows), numbered=True, bounded=True)
    drawn = library.plot_optimization_history(visible, target_name=review.study.spec.objective.metric)
    return {"history": looks.history_still(drawn) if library is still else drawn}


def _importance(review: Review, library: Library) -> Mapping[str, Any]:
    drawn = library.plot_param_importances(_visible(review, len(review.rows)))
    return {"importance": looks.importance_still(drawn) if library is still else drawn}


def _slices(review: Review, library: Library) -> Mapping[str, Any]:
    visible, metric = _visible(review, POINTS, numbered=True), review.study.spec.objective.metric
    names = _important(review)[:SLICES]
    return {f"slice-{name}": library.plot_slice(visible, params=[name], target_name=metric) for name in names}


def _contours(review: Review, library: Library) -> Mapping[str, Any]:
    visible, metric = _visible(review, LINES), review.study.spec.objective.metric
    return {f"contour-{a}-{b}": library.plot_contour(visible, params=[a, b], target_name=metric) for a, b in _pairs(review)}


def _parallel(review: Review, library: Library) -> Mapping[str, Any]:
    visible, metric = _visible(review, LINES), review.study.spec.objective.metric
    figure = visualization.plot_parallel_coordinate(visible, params=_across(review), target_name=metric)
    return {"parallel": looks.parallel_still(figure) if library is still else figure}


def _curves(review: Review, library: Library) -> Mapping[str, Any]:
    return {"curves": curves.draw(review, still=library is still)}


def _choices(review: Review, library: Library) -> Mapping[str, Any]:
    return strips.draw(review, still=library is still)


def _finalists(review: Review, library: Library) -> Mapping[str, Any]:
    return finalists.draw(review, still=library is still)


def _fronts(review: Review, library: Library) -> Mapping[str, Any]:
    return fronts.draw(review, still=library is still)


def _contrasts(review: Review, library: Library) -> Mapping[str, Any]:
    return contrast.draw(review, still=library is still)


def _edf(review: Review, library: Library) -> Mapping[str, Any]:
    visible = _visible(review, len(review.rows))
    return {"edf": library.plot_edf(visible, target_name=review.study.spec.objective.metric)}


def _timeline(review: Review, library: Library) -> Mapping[str, Any]:
    # Optuna draws a bar for a waiting trial too: the queue behind the last trial that began is cut off.
    begun = review.trials[: 1 + max(i for i, row in enumerate(review.rows) if row.started is not None)]
    earlier = [placeholder(State.QUEUED)] * len(begun[:-BARS])
    study = optuna_study(review.study, [*earlier, *begun[-BARS:]])
    return {"timeline": library.plot_timeline(study, n_recent_trials=BARS)}


# What was left out ------------------------------------------------------------


def _note_far(review: Review) -> str:
    return looks.note_far([entry.value for entry in review.ranked], maximise=review.study.spec.objective.maximise)


def _note_history(review: Review) -> str:
    broken = any(entry.broken for entry in review.ranked)
    return f"{_note_far(review)} {'Red ones break a constraint; the line leaves them out.' if broken else ''}".strip()


def _notesample(most: int) -> Callable[[Review], str]:
    def note(review: Review) -> str:
        count = len(review.ranked)
        part = (
            f"Drawn are {most} of {count:,} complete trials: the best {most // 4}, the others evenly by rank."
            if count > most
            else ""
        )
        return f"{part} {_note_far(review)}".strip()

    return note


def _note_parallel(review: Review) -> str:
    folded = len(_important(review)) - len(_across(review))
    part = f"{folded} parameters of one optimizer or schedule each are left out; the leaderboard has them." if folded else ""
    return f"{part} {_notesample(LINES)(review)}".strip()


def _note_timeline(review: Review) -> str:
    begun = sum(row.started is not None for row in review.rows)
    return f"Drawn are the last {BARS} of {begun:,} trials." if begun > BARS else ""


def _note_importance(review: Review) -> str:
    count, names = len(review.ranked), _important(review)
    says = [
        f"Drawn are the first {looks.IMPORTANT} of {len(names)} parameters." if len(names) > looks.IMPORTANT else "",
        f"With {count} complete trials the order is a hint at most." if count < 50 else "",
        "What belongs to one optimizer or schedule rests on the few trials that have it." if any(map(is_owned, names)) else "",
    ]
    return " ".join(filter(None, says))


KINDS: Mapping[str, Kind] = {
    "race": Kind(
        "Final race",
        "Each ring is a finalist on a fresh seed, the tick their mean, the bar its interval for 95 %, the diamond its value in "
        "the search; below, the winner on the test split.",
        finalists.lacks,
        _finalists,
        looks.choices,
        wide=True,  # a name with its trial, fate and costs would leave no room on a narrow screen
    ),
    "front": Kind(
        "Value and costs",
        "Each point is a complete trial; one further left costs less. Orange ones are on the front: no other trial is as good in "
        "every objective and better in one; where there are several costs, each picture shows one of them. Red ones break a "
        "constraint, whose bound is the dashed line.",
        fronts.lacks,
        _fronts,
        looks.front,
        fronts.note,
        asked=fronts.asked,
    ),
    "history": Kind(
        "History",
        "Each point is a complete trial at the value of its best epoch; the line is the best value so far.",
        _lacks_trials(1),
        _history,
        looks.history,
        _note_history,
    ),
    "curves": Kind(
        "Learning curves",
        "The objective after every epoch. Grey curves were pruned: they fell behind the others at a rung.",
        curves.lacks,
        _curves,
        looks.curves,
        curves.note,
    ),
    "choices": Kind(
        "Choices side by side",
        "Each point is the best value that a trial reached: filled when it was complete, a ring when it was pruned, and trials "
        "are pruned at different epochs. Behind each name stands how many trials chose it: few say little, and the best of many "
        "is better by luck alone. Failed trials have no value.",
        strips.lacks,
        _choices,
        looks.choices,
        strips.note,
    ),
    "contrast": Kind(
        "The shape of the network",
        "Each point is the best value that a trial reached, complete or pruned; a line for each value of a choice joins the best "
        "of every number.",
        contrast.lacks,
        _contrasts,
        looks.contrast,
        strips.note_far,
    ),
    "importance": Kind(
        "Importance",
        "How differently the best tenth of the complete trials chose each parameter (PED-ANOVA; the shares add up to 1). Pruned "
        "and failed trials do not count, so that a parameter which ends trials early can look unimportant.",
        _lacks_parameters,
        _importance,
        looks.importance,
        _note_importance,
    ),
    "edf": Kind(
        "Distribution",
        "The share of complete trials whose value is at most what the horizontal axis says.",
        _lacks_difference,
        _edf,
        looks.edf,
        _note_far,
    ),
    "slice": Kind(
        "One parameter at a time",
        "The value of complete trials against the most important parameters. Early trials are grey, late ones orange: where "
        "orange gathers, the search spent its trials.",
        _lacks_slice,
        _slices,
        looks.slices,
        _notesample(POINTS),
    ),
    "contour": Kind(
        "Two parameters at a time",
        "The most important parameters in pairs; darker is better. The ground between the trials (white dots) is interpolated, "
        "and far from any dot it is a guess.",
        _lacks_plane,
        _contours,
        looks.contour,
        _notesample(LINES),
    ),
    "parallel": Kind(
        "Parallel coordinates",
        "Each line is a complete trial across its parameters, grey for the worst, orange for the best. None means that the trial "
        "does not have the parameter.",
        _lacks_axes,
        _parallel,
        looks.parallel,
        _note_parallel,
        wide=True,
    ),
    "timeline": Kind(
        "Timeline",
        "Each bar is a trial from its first start to its end, in the local time of the machine that wrote this page; bars above "
        "each other at one time ran together.",
        _lacks_start,
        _timeline,
        looks.timeline,
        _note_timeline,
        wide=True,
    ),
}
