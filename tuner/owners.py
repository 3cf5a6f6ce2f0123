"""Parameters that belong to one optimizer or schedule, folded for people: no screen has room for a column per `adam.beta_1`.

Programs get full names; whoever writes a table or a line for a person asks here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tuner.dimension import Dimension
from tuner.spec import owner_of
from tuner.trial import Params, Value


def is_owned(name: str) -> bool:
    """Whether a parameter belongs to one optimizer or one schedule."""
    return bool(owner_of(name)[1])


def short(names: Iterable[str]) -> dict[str, str]:
    """Each name without its owner, `beta_1` for `adam.beta_1`, unless two names would then be the same."""
    bare = {name: name.rpartition(".")[2] for name in names}
    times = Counter(bare.values())
    return {name: own if times[own] == 1 else name for name, own in bare.items()}


def own(params: Params) -> dict[str, Value]:
    """The owned ones among a trial's parameters, under short names."""
    mine = {name: value for name, value in params.items() if is_owned(name)}
    return {label: mine[name] for name, label in short(mine).items()}


@dataclass(frozen=True)
class Folded:
    """A parameter without an owner, and below it those of each owner that is one of its values."""

    dimension: Dimension
    owners: Mapping[str, Sequence[Dimension]] = field(default_factory=dict)


def folded(dimensions: Sequence[Dimension]) -> Iterator[Folded]:
    """The parameters of a space in its order, owned ones below what chooses their owner.

    An owned one stands by itself where nothing is chosen: all trials have the optimizer that it belongs to.
    """
    names = {d.name for d in dimensions}
    for dimension in dimensions:
        if owner_of(dimension.name)[0] not in names:
            yield Folded(dimension, _owners(dimension.name, dimensions))


def _owners(chooser: str, dimensions: Iterable[Dimension]) -> dict[str, list[Dimension]]:
    found: dict[str, list[Dimension]] = {}
    for dimension in dimensions:
        by, owner = owner_of(dimension.name)
        if by == chooser:
            found.setdefault(owner, []).append(dimension)
    return found
