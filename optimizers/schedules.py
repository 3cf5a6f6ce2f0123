"""Learning-rate schedules: each a pure share of the rate, and a Keras schedule.

`k` = 1, 2, ... is the step and `steps` the length of the training, both after the warm-up. `n` holds the schedule's numbers, of
shape (), or (K,) with lanes. A rule that is given one of these as its `learning_rate` keeps the numbers as variables, so they are
set like hyper-parameters (`Rule.set_hyper`), differ from lane to lane, and count the rule's updates: gradient accumulation does
not hurry them, as it does the schedules of Keras.
"""

import math
from types import SimpleNamespace
from typing import Any, ClassVar

import keras
import keras.ops as ops
import numpy as np

from optimizers import SCHEDULES, WARMUP, Range
from optimizers import Schedule as Row
from optimizers.interval import NON_NEGATIVE, POSITIVE, Interval

Tensor = Any


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of step k is `learning_rate` times k/w in the first w = ⌊`warmup` · `steps`⌋ steps, times share(k-w) afterwards.

    `learning_rate` is the highest rate, `steps` the number of updates of the training; `warmup` is a share of them. Raises
    ValueError, saying what is allowed, for any other number.
    """

    row: ClassVar[Row]

    def __init__(self, learning_rate: Any, steps: Any, *, warmup: Any = 0.0, **numbers: Any) -> None:
        own, intervals = self.row.numbers, self.intervals
        if unknown := numbers.keys() - own.keys():
            raise ValueError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}; there are {', '.join(own)}")
        given = {name: scope.default for name, scope in own.items()} | numbers
        self.numbers = {"learning_rate": learning_rate, "steps": steps, "warmup": warmup, **given}
        for name, value in self.numbers.items():
            if not all(map(intervals[name].holds, np.asarray(value, "float64").flat)):
                raise ValueError(f"{name} must be in {intervals[name]}; got {value!r}")

    @property
    def intervals(self) -> dict[str, Interval]:
        """What each number may be."""
        own = {name: scope.allowed for name, scope in self.row.numbers.items()}
        return {"learning_rate": NON_NEGATIVE, "steps": POSITIVE, "warmup": WARMUP.allowed, **own}

    @staticmethod
    def share(k: Tensor, steps: Tensor, n: SimpleNamespace) -> Tensor:
        """The share of the rate at step `k` of `steps`."""
        raise NotImplementedError

    def rate(self, k: Tensor, n: SimpleNamespace) -> Tensor:
        """The rate of step `k` of the whole training; all of the shape of the numbers."""
        warming = ops.floor(_cleared(n.warmup * n.steps))
        risen = ops.minimum(k / ops.maximum(warming, 1.0), 1.0)
        after = ops.maximum(k - warming, 1.0)
        return n.learning_rate * ops.where(k <= warming, risen, 1.0) * self.share(after, ops.maximum(n.steps - warming, 1.0), n)

    def __call__(self, step: Tensor) -> Tensor:
        """The rate of the step after `step` others, as Keras asks for it."""
        dtype = keras.config.floatx()
        numbers = {name: ops.convert_to_tensor(value, dtype) for name, value in self.numbers.items()}
        return self.rate(ops.cast(step, dtype) + 1, SimpleNamespace(**numbers))

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor as plain JSON."""
        return {name: np.asarray(value).tolist() for name, value in self.numbers.items()}


@keras.saving.register_keras_serializable(package="tuner")
class Constant(Schedule):
    """1."""

    row = SCHEDULES["constant"]

    @staticmethod
    def share(k, steps, n):
        """1."""
        del steps, n  # the same everywhere
        return ops.ones_like(k)


@keras.saving.register_keras_serializable(package="tuner")
class InverseTime(Schedule):
    """(1+γ)/(k+γ), so that the rate is β/(k+γ) with β = (1+γ) · `learning_rate`, its first value.

    Robbins and Monro 1951. The theorem of lecture 3.3 wants β > 1/(2μ) and a first rate of at most 1/(2μ), for a μ-strongly
    convex function.
    """

    row = SCHEDULES["inverse_time"]

    @staticmethod
    def share(k, steps, n):
        """γ is `gamma`, in steps."""
        del steps  # it never ends
        return (1 + n.gamma) / (k + n.gamma)


@keras.saving.register_keras_serializable(package="tuner")
class InverseSqrt(Schedule):
    """1/√k, so that the rate is c/√k with c = `learning_rate`.

    Nemirovski et al., *Robust Stochastic Approximation*, 2009; lecture 3.3.
    """

    row = SCHEDULES["inverse_sqrt"]

    @staticmethod
    def share(k, steps, n):
        """1/√k."""
        del steps, n  # it never ends
        return ops.rsqrt(k)


@keras.saving.register_keras_serializable(package="tuner")
class Step(Schedule):
    """`drop`^⌊(k-1) / (`every` · steps)⌋: the rate falls by a factor whenever another share of the training is over.

    He et al., *Deep Residual Learning*, 2016, section 3.4.
    """

    row = SCHEDULES["step"]

    @staticmethod
    def share(k, steps, n):
        """A fall every ⌈`every` · steps⌉ steps, never within a step."""
        return ops.power(n.drop, ops.floor((k - 1) / ops.ceil(_cleared(n.every * steps))))


@keras.saving.register_keras_serializable(package="tuner")
class Cosine(Schedule):
    """`floor` + (1-`floor`) (1 + cos(π (k-1)/steps)) / 2, and `floor` when the training is over.

    Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, 2017, eq. 5, without restarts.
    """

    row = SCHEDULES["cosine"]

    @staticmethod
    def share(k, steps, n):
        """From 1 to `floor`."""
        return n.floor + (1 - n.floor) * _half_wave((k - 1) / steps)


@keras.saving.register_keras_serializable(package="tuner")
class OneCycle(Schedule):
    """From 1/25 up to 1 in the share `rise` of the steps, then down to 1/250,000, both along half a cosine.

    Smith and Topin, *Super-Convergence*, 2018, with the ends and the cosine of Howard and Gugger's fastai.
    """

    row = SCHEDULES["one_cycle"]

    @staticmethod
    def share(k, steps, n):
        """Up, then down."""
        done, first, last = (k - 1) / steps, 1 / 25, 1 / 250_000
        up = 1 - (1 - first) * _half_wave(done / n.rise)
        down = last + (1 - last) * _half_wave((done - n.rise) / (1 - n.rise))
        return ops.where(done < n.rise, up, down)


_KINDS = (Constant, InverseTime, InverseSqrt, Step, Cosine, OneCycle)


@keras.saving.register_keras_serializable(package="tuner")
class Chosen(Schedule):
    """The schedule of number `kind` in the order of `optimizers.SCHEDULES`: one graph for all of them, and each lane its own.

    The numbers of a schedule carry its name in front, as in `cosine.floor`.
    """

    row = Row(
        "chosen",
        "optimizers.schedules:Chosen",
        {
            "kind": Range(0, 0, len(_KINDS) - 1, allowed=Interval(0, len(_KINDS) - 1, "[]")),
            **{f"{kind.row.name}.{name}": scope for kind in _KINDS for name, scope in kind.row.numbers.items()},
        },
        "",
    )

    @staticmethod
    def share(k, steps, n):
        """That of the schedule chosen."""
        share = ops.ones_like(k)
        for number, kind in enumerate(_KINDS):
            own = SimpleNamespace(**{name: getattr(n, f"{kind.row.name}.{name}") for name in kind.row.numbers})
            share = ops.where(ops.equal(n.kind, number), kind.share(k, steps, own), share)
        return share


def _cleared(product: Tensor) -> Tensor:
    """A share of the steps without the rounding that carries it past a whole number: in float32 0.3 · 100 is 30.000002."""
    nearest = ops.round(product)
    return ops.where(ops.abs(product - nearest) <= 3e-7 * nearest, nearest, product)


def _half_wave(done: Tensor) -> Tensor:
    """From 1 at 0 to 0 at 1, and so on both sides."""
    return 0.5 * (1 + ops.cos(math.pi * ops.clip(done, 0.0, 1.0)))
