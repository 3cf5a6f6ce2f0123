"""The contract: an optimizer is a pure rule, and `optimizers.base.Rule` makes a Keras optimizer of it.

A method is a subclass that states

    row        its row of the table (`optimizers.OPTIMIZERS`): its hyper-parameters, where each may lie, and the defaults
    slots      what it remembers of each weight, with the initial value or the choice that holds it
    carried    numbers that it remembers from step to step, with the initial value
    choices    its options that are no numbers, and what each may be, the default first; read as attributes
    per_step   what depends on the hyper-parameters and the step number alone; computed once a step
    update     the formula

and, where weight decay has a place inside the formula, `decays_first = False`: `update` then uses `h.weight_decay` itself, which
is 0 for a weight that does not decay;

and, where it stores another point than the one to be evaluated ("eval_swap"), `evaluation_point` and `training_point`; its
`update` must then start from either: `h.in_evaluation` is 1 when the weight is the point to be evaluated, else 0; `leads` is the
slot at whose 0 both points are one;

and, where `update` has the form of `Moments`, `remembers`, which of m and v its slots are ("s" for an m with r), and `moments`.
Lanes that follow different methods of that form are computed together (`optimizers.several`).

Letters: `K` lanes; `k` = 1, 2, ... the step; `g` gradient, `x` weight and slots, of one shape whose first axis is `K` when there
are lanes; `h` the step's numbers: every hyper-parameter, `k`, what is carried, what `per_step` adds, each a tensor that
broadcasts against `x` (shape `()`, or `(K, 1, ..., 1)` with lanes).

The rule computes in float32 for half-precision weights (its slots are float32 then) and in the weight's own dtype otherwise.
Hyper-parameters are stored in float64 when `keras.config.floatx()` is float64, in float32 otherwise.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import keras.ops as ops

from optimizers import Row

Tensor = Any


def unbias(beta: Tensor, k: Tensor) -> Tensor:
    """1 / (1 - beta^k), which makes a moving average that started at 0 an unbiased one (Kingma and Ba 2015, section 3).

    `expm1` keeps in float32 the digits that 1 - beta^k loses while beta^k is near 1.
    """
    return -1.0 / ops.expm1(k * ops.log(beta))


def shrink(x: Tensor, by: Tensor) -> Tensor:
    """sign(x) max(|x| - by, 0): `x` moved towards 0 and stopped there (the proximal map of by ‖x‖₁)."""
    return ops.sign(x) * ops.maximum(ops.abs(x) - by, 0.0)


class Moments(NamedTuple):
    """The numbers of a step that many methods have in common: () or (K,), or plain ones.

        m ← a m + b g;  v ← c v + d g²;  s = (p m + (q + w √(m + i)) g) / (√(v + i) + e);  x ← x - f s;  m ← m + r s²

    A method that remembers no v has the denominator 1; w and r are Adadelta's alone, whose m is the mean of s².
    """

    a: Tensor = 0.0
    b: Tensor = 0.0
    c: Tensor = 0.0
    d: Tensor = 0.0
    p: Tensor = 0.0
    q: Tensor = 0.0
    w: Tensor = 0.0
    i: Tensor = 0.0
    e: Tensor = 1.0
    f: Tensor = 1.0
    r: Tensor = 0.0


class Method:
    """What a method states, with what most of them state alike; see the module's docstring."""

    row: ClassVar[Row]
    slots: ClassVar[Mapping[str, float | str]] = {}
    carried: ClassVar[Mapping[str, float]] = {}
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    decays_first: ClassVar[bool] = True
    remembers: ClassVar[str | None] = None
    leads: ClassVar[str] = ""

    lanes: int | None

    def __init_subclass__(cls, **options: Any) -> None:
        """A method with an `update` of its own has no longer the form of the one that it is made from, unless it says so."""
        super().__init_subclass__(**options)
        if "update" in vars(cls) and "remembers" not in vars(cls):
            cls.remembers = None

    def traits(self, shapes: Sequence[tuple[int, ...]], paths: Sequence[str]) -> list[Mapping[str, Any]]:
        """What is fixed for each weight from the start, to be added to its `h`; `shapes` are those within a lane."""
        del paths  # nothing to add
        return [{} for _ in shapes]

    def slot_shape(self, name: str, shape: tuple[int, ...], traits: Mapping[str, Any]) -> tuple[int, ...]:
        """The shape of a slot of a weight of `shape` with these `traits`, both within a lane; `()` for a slot without use."""
        del name, traits  # all are like the weight
        return shape

    def gather(self, g: Tensor, x: Tensor, slots: tuple, h: SimpleNamespace) -> dict[str, Tensor]:
        """What `per_step` wants to know of all weights together: one weight's part of each sum, of shape () or (K,)."""
        del g, x, slots, h  # nothing to sum
        return {}

    def per_step(self, h: SimpleNamespace) -> dict[str, Tensor]:
        """Numbers to add to `h`, of shape () or (K,); one with a carried name is that number's next value.

        `h` has no axes here but K, and holds the sums of `gather` over all weights.
        """
        del h  # nothing to add
        return {}

    def update(self, g: Tensor, x: Tensor, slots: tuple, h: SimpleNamespace) -> tuple[Tensor, tuple]:
        """The weight and its slots after one step, each of its own shape."""
        raise NotImplementedError

    def moments(self, h: SimpleNamespace) -> Moments:
        """The step as `Moments`; `h` has no axes here but K, and what `per_step` adds."""
        raise NotImplementedError

    def evaluation_point(self, x: Tensor, slots: tuple, h: SimpleNamespace) -> Tensor:
        """The point to be evaluated when the weight stored is `x`; `h` holds the hyper-parameters, `k` and what is carried."""
        del slots, h  # the stored weight is the point
        return x

    def training_point(self, x: Tensor, slots: tuple, h: SimpleNamespace) -> Tensor:
        """The inverse of `evaluation_point`."""
        del slots, h  # the stored weight is the point
        return x

    def total(self, values: Tensor) -> Tensor:
        """The sum of the values of one weight, within a lane: of shape () or (K,)."""
        return ops.sum(values, axis=None if self.lanes is None else tuple(range(1, len(values.shape))))

    def norm(self, values: Tensor) -> Tensor:
        """The Euclidean norm of the values of one weight, within a lane; broadcasts against them."""
        return self._expand(ops.sqrt(self.total(ops.square(values))), len(values.shape))

    def matrix(self, values: Tensor) -> Tensor:
        """The values of one weight of two or more axes as a matrix [all axes but the last, last], within a lane."""
        return ops.reshape(values, ((-1,) if self.lanes is None else (self.lanes, -1)) + (values.shape[-1],))

    def _expand(self, number: Tensor, rank: int) -> Tensor:
        return number if self.lanes is None or rank == 1 else ops.reshape(number, (self.lanes,) + (1,) * (rank - 1))
