"""One parameter of a search space, and the parameters that a network has once for every layer. Pure."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import TypeAlias

from models import Network
from tuner.spec import FloatRange, IntRange, Parameter, of_layers, values
from tuner.trial import Params, Value

When: TypeAlias = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True)
class Dimension:
    """One parameter of the space.

    It exists when every parameter in `when` has one of the values behind it and, where `either` names some, one of these has.
    """

    name: str
    parameter: Parameter
    when: When = field(default_factory=dict)
    either: When = field(default_factory=dict)

    def exists(self, params: Params) -> bool:
        """Whether the parameter exists beside the values chosen so far."""
        if not all(params.get(other) in wanted for other, wanted in self.when.items()):
            return False
        return not self.either or any(params.get(other) in wanted for other, wanted in self.either.items())

    @cached_property
    def parents(self) -> frozenset[str]:
        """The parameters that decide whether this one exists."""
        return frozenset((*self.when, *self.either))

    def conditions(self, say: Callable[[Value], str]) -> dict[str, str]:
        """For people: a parameter → the values of which it must have one, in words; those of `either` as one, `a or b`."""
        together = {" or ".join(self.either): wanted for wanted in self.either.values()}
        return {other: _listed(wanted, say) for other, wanted in {**self.when, **together}.items()}

    @property
    def count(self) -> float:
        """How many values it has; infinite when it is continuous."""
        match self.parameter:  # a fine step makes more of them than can be listed
            case IntRange(int=(low, high), step=step):
                return (high - low) // step + 1
            case FloatRange(step=None):
                return math.inf
            case FloatRange(float=(low, high), step=float(fstep)):
                return _steps(low, high, fstep) + 1
            case _:
                return len(values(self.parameter))

    @property
    def last(self) -> float:
        """The highest value of a range of floats that can be reached, which a step may leave below its end."""
        low, high = map(float, values(self.parameter))
        step = self.parameter.step if isinstance(self.parameter, FloatRange) else None
        return high if step is None else _on_grid(low, step, _steps(low, high, step))

    @property
    def grid(self) -> tuple[Value, ...] | range | None:
        """Its values in order, or None when it is continuous."""
        match self.parameter:
            case IntRange(int=(low, high), step=step):
                return range(low, high + 1, step)
            case FloatRange(float=(low, high), step=fstep):
                if fstep is None:
                    return None
                return tuple(_on_grid(low, fstep, i) for i in range(_steps(low, high, fstep) + 1))
            case _:
                return values(self.parameter)


def both(one: When, other: When) -> When:
    """Two conditions as one, which holds where both do."""
    common = {name: tuple(value for value in one[name] if value in other[name]) for name in one if name in other}
    return {**one, **other, **common}


def _on_grid(low: float, step: float, place: int) -> float:
    """The number that a person would write: floats have 3 × 0.1 above the end of a range to 0.3."""
    return float(Decimal(str(low)) + place * Decimal(str(step)))


def _steps(low: float, high: float, step: float) -> int:
    return math.floor((high - low) / step + 1e-9)


def _listed(wanted: tuple[Value, ...], say: Callable[[Value], str]) -> str:
    """The values one by one; more than two whole numbers without a gap as `1 to 5`."""
    whole = [value for value in wanted if type(value) is int]
    if len(whole) > 2 and wanted == tuple(range(whole[0], whole[0] + len(wanted))):
        return f"{say(wanted[0])} to {say(wanted[-1])}"
    return " or ".join(map(say, wanted))


class Structure:
    """Which layers the networks of a study can have, and so which parameters of its layers exist beside which others."""

    def __init__(self, network: Network, search: Mapping[str, Parameter]) -> None:
        self._network, self._search = network, search

    def unfold(self, name: str, parameter: Parameter, when: When) -> Iterator[Dimension]:
        """The parameter as it is, for networks that have such a layer; or once for every layer if it differs among them."""
        counter = self._network.per_layer.get(name)
        if counter is None:
            yield Dimension(name, parameter, *self._of_kind(name, None, when))
            return
        counts = self._counts(counter)
        if not parameter.per_layer:
            some = {counter: tuple(n for n in counts if n)} if 0 in counts and any(counts) else {}
            yield Dimension(name, parameter, *self._of_kind(name, None, both(when, some)))
            return
        for layer, own in enumerate(of_layers(self._network, self._search, name), 1):
            deep = {counter: tuple(n for n in counts if n >= layer)} if counter in self._search else {}
            yield Dimension(own, parameter, *self._of_kind(name, layer, both(when, deep)))

    def _counts(self, counter: str) -> list[int]:
        """Every value of a parameter that counts layers."""
        if counter not in self._search:
            return [int(self._network.parameters[counter].default)]
        return [int(value) for value in Dimension(counter, self._search[counter]).grid or ()]

    def _of_kind(self, name: str, layer: int | None, when: When) -> tuple[When, When]:
        """`when` and `either` of a parameter that one kind of layer has, or that chooses the kind; of all layers if it is None.

        A kind is chosen while all layers before are of the first kind: so a layer is of the second one when it or any layer
        before it was chosen to be.
        """
        kinds = self._network.kinds
        if kinds is None or kinds.parameter not in self._search:
            return when, {}
        chooser, owner = kinds.parameter, kinds.owners.get(name)
        if not self._search[chooser].per_layer:
            return (when if owner is None else both(when, {chooser: (owner,)})), {}
        if name == chooser and layer is not None and layer > 1:
            return both(when, {f"{chooser}_{layer - 1}": (kinds.first,)}), {}
        if owner == kinds.first:
            return both(when, {f"{chooser}_{layer or 1}": (owner,)}), {}
        if owner == kinds.then:
            last = layer or max(self._counts(self._network.per_layer[chooser]))
            return when, {f"{chooser}_{place}": (owner,) for place in range(1, last + 1)}
        return when, {}
