"""The study file that takes up what a study suggests, and begins with its best configuration, if its sampler lets it."""

import tomllib
from collections.abc import Mapping, Sequence

from tuner import toml
from tuner.dimension import When
from tuner.review.advice import Advice, chosen
from tuner.review.results import Review
from tuner.space import Space
from tuner.spec import Parameter, contains, parse
from tuner.trial import Params


def sequel(review: Review, advice: Advice, name: str) -> str:
    """A study file of that name, checked; what can no longer be, as parameters of an optimizer that was dropped, is left out."""
    spec = review.study.spec
    parameters = {one.key.removeprefix("search."): one.change for one in advice.suggestions if not isinstance(one.change, int)}
    numbers = {one.key: one.change for one in advice.suggestions if isinstance(one.change, int)}
    search = _reachable({**spec.search, **parameters}, {d.name: d.when for d in Space(spec).dimensions})
    best = {key: value for key, value in chosen(review).items() if key in search and contains(search[key], value)}
    first = () if spec.sampler.name == "grid" else (best,)  # nothing comes before the points of a grid
    epochs = numbers.pop("train.epochs", spec.train.epochs)
    budget = {"trials": len(review.rows)} | {key.removeprefix("budget."): change for key, change in numbers.items()}
    follower = spec.model_copy(
        update={
            "name": name,
            "search": search,
            "enqueue": first,
            "train": spec.train.model_copy(update={"epochs": epochs}),
            "pruner": spec.pruner.model_copy(update={"from_epoch": min(spec.pruner.from_epoch, epochs)}),
            "budget": spec.budget.model_copy(update=budget),
        }
    )
    text = "\n".join([*_heading(review, advice, first), toml.study_file(follower, defaults=False)])
    parse(tomllib.loads(text), name)
    return text


def _heading(review: Review, advice: Advice, first: Sequence[Params]) -> list[str]:
    lines = [f"{review.study.name} goes on: what its {advice.complete} complete trials suggest.", ""]
    lines += [f"- {one.says}: {one.evidence}" for one in advice.suggestions]
    for best in first:
        missing = [key for key in chosen(review) if key not in best]
        lines += ["", f"Its best configuration comes first{', without ' if missing else ''}{', '.join(missing)}."]
    return [f"# {line}".rstrip() for line in lines]


def _reachable(search: Mapping[str, Parameter], conditions: Mapping[str, When]) -> dict[str, Parameter]:
    """The parameters that still exist for some values of those that they depend on, with what is left of their conditions."""
    found = dict(search)
    while gone := [name for name in found if not _can_be(found, conditions.get(name, found[name].when))]:
        for name in gone:
            del found[name]
    return {name: parameter.model_copy(update={"when": _left(found, parameter.when)}) for name, parameter in found.items()}


def _can_be(search: Mapping[str, Parameter], when: When) -> bool:
    return all(other in search and wanted for other, wanted in _left(search, when).items())


def _left(search: Mapping[str, Parameter], when: When) -> When:
    """The conditions, each with the values that can still be chosen."""
    return {
        other: tuple(value for value in wanted if other in search and contains(search[other], value))
        for other, wanted in when.items()
    }
