"""The family of networks that a study searches: its smallest and its largest member, whether it can be searched. Pure.

Where a network grows with every parameter, as a perceptron does, these are the corners of the space. A convolutional one does
not: a larger stride makes it smaller, and some members do not exist. There all members are measured if they are few; else the
corners, and some members drawn at random, are improved one parameter at a time until none helps.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from types import MappingProxyType

from models import AUGMENTATION
from models.plan import Impossible
from tuner.dimension import Dimension
from tuner.errors import BadInput
from tuner.space import Size, Space
from tuner.spec import values
from tuner.trial import Params, Value

MAX_GRID = 1_000_000
MAX_PARAMETERS = 500_000_000
MAX_BYTES = 64 * 2**30
MEMBERS = 4_000  # of a family that are all measured
STARTS, DRAWS = 6, 300  # members that are improved beside the corners, and how many are drawn to find them
VALUES = 8  # of a parameter that are tried; of one that has more, both ends


@dataclass(frozen=True)
class Family:
    """The networks of a space on inputs of one shape, with `rows` to train on; nothing is known of a user's own."""

    space: Space
    input_shape: tuple[int, ...]
    outputs: int
    rows: int

    @cached_property
    def smallest(self) -> Size | None:
        """The one with the fewest weights, if any is known."""
        return min(self._sizes, key=lambda size: (size.parameters, size.bytes), default=None)

    @cached_property
    def largest(self) -> Size | None:
        """The one with the most weights, if any is known."""
        return max(self._sizes, key=lambda size: (size.parameters, size.bytes), default=None)

    @cached_property
    def heaviest(self) -> Size | None:
        """The one that needs the most memory in training, if any is known."""
        return max(self._sizes, key=lambda size: size.bytes, default=None)

    @property
    def impossible(self) -> str:
        """Why no network of the space can be; empty when one can, or nothing is known of them."""
        return "" if self._sizes else self.space.impossible(self.corner(min), self.input_shape, self.outputs)

    def corner(self, end: Callable[..., Value]) -> dict[str, Value]:
        """The configuration with every parameter at its lower end (`min`) or its upper end (`max`)."""
        return self.space.choose(lambda d: _end(d, end))

    @cached_property
    def _sizes(self) -> Sequence[Size]:
        """Every size that was looked at; the extremes are among them."""
        if self.space.network is None:
            return []
        if not self.space.network.convolutional:
            return [size for _, size in self._possible(self.corner(end) for end in (min, max))]
        members = list(islice(self._members(), MEMBERS + 1))
        if len(members) <= MEMBERS:
            return [size for _, size in self._possible(iter(members))]
        return [size for start in self._starts() for sign in (1, -1) for size in self._improved(*start, sign)]

    def _members(self, index: int = 0, params: Params = MappingProxyType({})) -> Iterator[Params]:
        """All of them, as far as they differ in size."""
        if index == len(self.space.dimensions):
            yield params
            return
        dimension = self.space.dimensions[index]
        if not dimension.exists(params):
            yield from self._members(index + 1, params)
            return
        for value in _tried(dimension) if dimension.name in self._shaping else (_end(dimension, min),):
            yield from self._members(index + 1, {**params, dimension.name: value})

    def _starts(self) -> Iterator[tuple[Params, Size]]:
        """The corners, and some members in between."""
        chance = random.Random(0)
        drawn = (self.space.choose(lambda d: chance.choice(_tried(d))) for _ in range(DRAWS))
        yield from self._possible(self.corner(end) for end in (min, max))
        yield from islice(self._possible(drawn), STARTS)

    def _possible(self, members: Iterator[Params]) -> Iterator[tuple[Params, Size]]:
        for params in members:
            if (size := self._size(params)) is not None:
                yield params, size

    def _size(self, params: Params) -> Size | None:
        try:
            return self.space.network_size(params, self.input_shape, self.outputs, self.rows)
        except Impossible:
            return None

    def _improved(self, params: Params, size: Size, sign: int) -> Iterator[Size]:
        """The sizes on the way from a member to fewer weights (sign 1) or more (-1), one parameter at a time."""
        yield size
        better = True
        while better:
            better = False
            for dimension in self._shaping.values():
                for other, found in self._possible(self._neighbours(params, dimension)):
                    yield found
                    if sign * found.parameters < sign * size.parameters:
                        params, size, better = other, found, True

    def _neighbours(self, params: Params, changed: Dimension) -> Iterator[Params]:
        """The member with other values of one parameter; what exists only beside these is at its lower end."""
        for value in _tried(changed) if changed.name in params else ():
            yield self.space.choose(lambda d, v=value: v if d is changed else params.get(d.name, _end(d, min)))  # type: ignore[misc]

    @cached_property
    def _shaping(self) -> Mapping[str, Dimension]:
        """The dimensions that can change a size."""
        known = {} if self.space.network is None else self.space.network.parameters
        shaping = {name for name, limits in known.items() if limits.shapes} | {"batch_size"}
        return {n: d for n, d in self.space.free.items() if n.rstrip("0123456789").removesuffix("_") in shaping}


def _end(dimension: Dimension, end: Callable[..., Value]) -> Value:
    return end(values(dimension.parameter), key=lambda value: 0.0 if isinstance(value, str) else float(value))


def _tried(dimension: Dimension) -> Sequence[Value]:
    """All values of a parameter that has few, else its ends."""
    return list(dimension.grid or ()) if dimension.count <= VALUES else values(dimension.parameter)


def check(family: Family) -> None:
    """Refuse a study that could never be searched.

    Raises `BadInput` when a grid is too large to be searched, rows without an image shall be augmented, a batch exceeds the
    training rows, no network is possible, or the largest one exceeds the caps.
    """
    space = family.space
    if space.spec.sampler.name == "grid" and space.size > MAX_GRID:
        raise BadInput(f"sampler.name: a grid of {space.size:,.0f} configurations; allowed are {MAX_GRID:,}")
    for name in space.tensors & AUGMENTATION.keys() if len(family.input_shape) != 3 else ():
        shape = "×".join(str(size) for size in family.input_shape)
        raise BadInput(f"search.{name}: only images can be augmented, and these rows are of {shape} numbers; remove it")
    batch = space.configuration(family.corner(max)).batch_size
    if batch is not None and batch > family.rows:
        default = "" if "batch_size" in space.spec.search else ", the default,"
        raise BadInput(f"search.batch_size: {batch}{default} is more than the {family.rows} training rows")
    if reason := family.impossible:
        raise BadInput(f"search: none of these networks is possible on this data: {reason}")
    most, largest = family.heaviest, family.largest
    if most and largest and (largest.parameters > MAX_PARAMETERS or most.bytes > MAX_BYTES):
        raise BadInput(
            f"search: the largest network has {largest.parameters:,} weights and needs {most.bytes / 2**30:,.0f} GiB; "
            f"allowed are {MAX_PARAMETERS:,} and {MAX_BYTES // 2**30} GiB"
        )
