"""The table of optimizers: name → class, hyper-parameters with sane ranges, what the rule requires.

`wrapper:method` is a method too, with a row made of two (`find`): `lookahead:adam`, `svrg:momentum`.

Importing this package loads neither Keras nor TensorFlow; `load` resolves a class on use.

The classes carry the names of the methods and are registered with Keras under the package `tuner`: the full name `tuner>Adam`
is ours, in strings (`keras.optimizers.get("tuner>Adam")`), in configs and in `.keras` files, and the bare name `Adam` stays
Keras' own. Keras knows a full name once `load` has been called for it.
"""

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from optimizers.interval import FRACTION, INSIDE, LIMIT, NON_NEGATIVE, POSITIVE, SHARE, UNIT, Interval


class Range(NamedTuple):
    """What a search may try: `default` (None: left out), the ends `low` and `high`, and whether to step by factors (`log`).

    `main` says whether a study that leaves the sub-space to the method searches it; the others are worth it to a person with a
    reason. `allowed` has all numbers that the method takes.
    """

    default: float | None
    low: float
    high: float
    log: bool = False
    main: bool = True
    allowed: Interval = NON_NEGATIVE


@dataclass(frozen=True)
class Row:
    """One method.

    `path` is `module:class`; `learning_rate` and `hyper` say what may be searched and are where the defaults live.
    `requires` names what the rule needs from its engine, out of "gradient" (nothing else), "eval_swap" (it stores another point
    than the one to be evaluated), "closure", "snapshot", "full_batch" and "linear_model" (one linear layer, and which rows are
    in a batch). `source` is the paper and the equation. A study may name the `family` in place of its methods. `horizon` is the
    hyper-parameter, if any, whose default in a study is the number of steps of the training. `settled` are the options of the
    class that are not open to choice. `caution` is what a study is told that uses it on a network with hidden layers.
    """

    name: str
    family: str
    path: str
    learning_rate: Range
    hyper: Mapping[str, Range]
    requires: frozenset[str]
    source: str
    takes_common: bool = True
    horizon: str = ""
    settled: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""

    @property
    def gradient_only(self) -> bool:
        """Whether a step needs nothing but the gradient of its batch."""
        return "gradient" in self.requires

    @property
    def mixes(self) -> bool:
        """Whether lanes of one graph may follow this rule beside others (`optimizers.several`).

        What it remembers must be of the shape of the weight and start at 0.
        """
        return self.gradient_only and self.family != "matrix" and not self.settled.get("initial_mean_square")

    @property
    def ranges(self) -> Mapping[str, Range]:
        """All that may be searched beside the rate: its own hyper-parameters, then the common ones that it does not state."""
        common = COMMON if self.takes_common else {}
        return {**self.hyper, **{name: scope for name, scope in common.items() if name not in self.hyper}}

    @property
    def numbers(self) -> Mapping[str, Range]:
        """The rate, and `ranges`."""
        return {"learning_rate": self.learning_rate, **self.ranges}


@dataclass(frozen=True)
class Wrapper:
    """A method around another one, `<name>:<method>`; `hyper` joins the method's own, `requires` takes its place."""

    name: str
    path: str
    hyper: Mapping[str, Range]
    requires: frozenset[str]
    source: str


@dataclass(frozen=True)
class Alias:
    """What another system calls `name` and means by it: a method with other defaults and settled options.

    `caution` is as in `Row`.
    """

    name: str
    method: str
    learning_rate: float
    hyper: Mapping[str, float] = field(default_factory=dict)
    settled: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""

    @property
    def row(self) -> Row:
        """The row of the method as that system has it."""
        row = OPTIMIZERS[self.method]
        hyper = {name: _with_default(span, self.hyper.get(name, span.default)) for name, span in row.hyper.items()}
        rate, source = _with_default(row.learning_rate, self.learning_rate), f"as in {self.name.replace(':', ' ')}; {row.source}"
        stated = {"hyper": hyper, "settled": self.settled, "source": source, "caution": self.caution}
        return replace(row, name=self.name, learning_rate=rate, **stated)


def _with_default(span: Range, default: float | None) -> Range:
    if default is None:
        return span
    low, high = min(span.low, default or span.low), max(span.high, default)
    return span._replace(default=default, low=low, high=high)


@dataclass(frozen=True)
class Schedule:
    """One way in which the learning rate changes: `path` is `module:class`, `numbers` says what may be searched."""

    name: str
    path: str
    numbers: Mapping[str, Range]
    source: str


_RHO = Range(0.9, 0.5, 0.999, allowed=FRACTION)
_BETA_1 = Range(0.9, 0.5, 0.99, allowed=FRACTION)
_BETA_2 = Range(0.999, 0.9, 0.9999, main=False, allowed=FRACTION)
_DECAY = Range(0.004, 1e-6, 1e-1, log=True)
_ACCUMULATOR = Range(0.1, 1e-8, 1.0, log=True, main=False, allowed=POSITIVE)
_PROX = Range(0.0, 0.0, 0.1, main=False)
_AVERAGING_POWER = Range(0.0, 0.0, 2.0, main=False)
_GRADIENT = frozenset({"gradient"})
_LINEAR_MODEL = frozenset({"linear_model"})
_FULL_BATCH = frozenset({"closure", "full_batch"})


def _epsilon(default: float) -> Range:
    return Range(default, 1e-10, 1e-3, log=True, main=False, allowed=POSITIVE)


_CLIPS = {
    "clipnorm": Range(None, 1e-1, 1e1, log=True, allowed=LIMIT),
    "clipvalue": Range(None, 1e-2, 1e1, log=True, allowed=LIMIT),
    "global_clipnorm": Range(None, 1e-1, 1e1, log=True, allowed=LIMIT),
}

CLIPS = tuple(_CLIPS)

COMMON: Mapping[str, Range] = MappingProxyType({"weight_decay": Range(None, 1e-6, 1e-1, log=True), **_CLIPS})
"""Hyper-parameters of every row that takes them, absent unless given or in the row itself; at most one of the three clips."""

_ROWS = (
    Row(
        "sgd",
        "descent",
        "optimizers.sgd:SGD",
        Range(0.01, 1e-4, 1.0, log=True),
        {},
        _GRADIENT,
        "Robbins and Monro 1951; lecture 3.3",
    ),
    Row(
        "momentum",
        "descent",
        "optimizers.momentum:Momentum",
        Range(0.01, 1e-5, 1.0, log=True),
        {"momentum": Range(0.9, 0.0, 0.99, allowed=UNIT)},
        _GRADIENT,
        "Polyak 1964; Sutskever et al. 2013, eqs. 1-2; lecture 3.4",
    ),
    Row(
        "nesterov",
        "descent",
        "optimizers.nesterov:Nesterov",
        Range(0.01, 1e-5, 1.0, log=True),
        {"momentum": Range(1.0, 0.5, 1.0, allowed=UNIT)},
        frozenset({"gradient", "eval_swap"}),
        "Nesterov 1983; Sutskever et al. 2013, eqs. 3-4; lecture 3.4",
    ),
    Row(
        "adagrad",
        "adaptive",
        "optimizers.adagrad:Adagrad",
        Range(0.01, 1e-4, 1.0, log=True),
        {"epsilon": _epsilon(1e-7), "initial_accumulator_value": Range(0.0, 0.0, 1.0, main=False)},
        _GRADIENT,
        "Duchi, Hazan and Singer 2011, figure 1; lecture 3.4",
    ),
    Row(
        "rmsprop",
        "adaptive",
        "optimizers.rmsprop:RMSProp",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"rho": _RHO, "epsilon": _epsilon(1e-7)},
        _GRADIENT,
        "Hinton, csc321 lecture 6e; lecture 3.4",
    ),
    Row(
        "adadelta",
        "adaptive",
        "optimizers.adadelta:Adadelta",
        Range(1.0, 1e-2, 1e1, log=True),
        {"rho": _RHO, "epsilon": _epsilon(1e-6)},
        _GRADIENT,
        "Zeiler 2012, algorithm 1; lecture 3.4",
    ),
    Row(
        "adam",
        "adam_like",
        "optimizers.adam:Adam",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8)},
        _GRADIENT,
        "Kingma and Ba 2015, algorithm 1; lecture 3.4",
    ),
    Row(
        "nadam",
        "adam_like",
        "optimizers.nadam:Nadam",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {
            "beta_1": _BETA_1,
            "beta_2": _BETA_2,
            "epsilon": _epsilon(1e-8),
            "momentum_decay": Range(0.004, 1e-3, 1.0, log=True, main=False),
        },
        _GRADIENT,
        "Dozat 2016 (ICLR workshop); named in lecture 3.4",
    ),
    Row(
        "centered_rmsprop",
        "adaptive",
        "optimizers.centered_rmsprop:CenteredRMSProp",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"rho": _RHO, "epsilon": _epsilon(1e-7), "momentum": Range(0.0, 0.0, 0.99, allowed=UNIT)},
        _GRADIENT,
        "Graves 2013, eqs. 38-41; named in lecture 3.4",
    ),
    Row(
        "adamax",
        "adam_like",
        "optimizers.adamax:Adamax",
        Range(2e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8)},
        _GRADIENT,
        "Kingma and Ba 2015, algorithm 2; named in lecture 3.4",
    ),
    Row(
        "adamw",
        "adam_like",
        "optimizers.adamw:AdamW",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8), "weight_decay": _DECAY},
        _GRADIENT,
        "Loshchilov and Hutter 2019, algorithm 2",
    ),
    Row(
        "amsgrad",
        "adam_like",
        "optimizers.amsgrad:AMSGrad",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8)},
        _GRADIENT,
        "Reddi, Kale and Kumar 2018, algorithm 2",
    ),
    Row(
        "nadamw",
        "adam_like",
        "optimizers.nadamw:NadamW",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8), "weight_decay": _DECAY},
        _GRADIENT,
        "Dozat 2016, algorithm 2 with a constant μ; Dahl et al. 2023 (AlgoPerf)",
    ),
    Row(
        "lion",
        "adam_like",
        "optimizers.lion:Lion",
        Range(3e-4, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": Range(0.99, 0.9, 0.9999, main=False, allowed=FRACTION)},
        _GRADIENT,
        "Chen et al. 2023, algorithm 2",
    ),
    Row(
        "lamb",
        "adam_like",
        "optimizers.lamb:LAMB",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {
            "beta_1": _BETA_1,
            "beta_2": _BETA_2,
            "epsilon": _epsilon(1e-8),
            "weight_decay": Range(0.01, 1e-6, 1e-1, log=True),
        },
        _GRADIENT,
        "You et al. 2020, algorithm 2",
    ),
    Row(
        "proximal_adagrad",
        "proximal",
        "optimizers.proximal_adagrad:ProximalAdagrad",
        Range(0.01, 1e-4, 1.0, log=True),
        {"initial_accumulator_value": _ACCUMULATOR, "prox_l1": _PROX, "prox_l2": _PROX},
        _GRADIENT,
        "Duchi and Singer 2009, eqs. 2-3; Duchi, Hazan and Singer 2011, eq. 4; named in lecture 3.4",
    ),
    Row(
        "adagrad_da",
        "proximal",
        "optimizers.dual_averaging:AdagradDA",
        Range(0.01, 1e-4, 1.0, log=True),
        {"initial_accumulator_value": _ACCUMULATOR, "prox_l1": _PROX, "prox_l2": _PROX},
        _GRADIENT,
        "Duchi, Hazan and Singer 2011, eq. 3; named in lecture 3.4",
    ),
    Row(
        "ftrl",
        "proximal",
        "optimizers.dual_averaging:Ftrl",
        Range(0.01, 1e-4, 1.0, log=True),
        {
            "initial_accumulator_value": _ACCUMULATOR,
            "beta": Range(0.0, 0.0, 10.0, main=False),
            "prox_l1": _PROX,
            "prox_l2": _PROX,
        },
        _GRADIENT,
        "McMahan et al. 2013, algorithm 1; named in lecture 3.4",
    ),
    Row(
        "ademamix",
        "adam_like",
        "optimizers.ademamix:AdEMAMix",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {
            "beta_1": _BETA_1,
            "beta_2": _BETA_2,
            "beta_3": Range(0.9999, 0.9, 0.99999, main=False, allowed=FRACTION),
            "alpha": Range(5.0, 0.0, 20.0),
            "warmup_steps": Range(1e4, 1e2, 1e6, log=True, main=False, allowed=POSITIVE),
            "epsilon": _epsilon(1e-8),
        },
        _GRADIENT,
        "Pagliardini, Ablin and Grangier 2024, eq. (AdEMAMix) and its schedulers",
        horizon="warmup_steps",
    ),
    Row(
        "schedule_free_sgd",
        "descent",
        "optimizers.schedule_free:ScheduleFreeSGD",
        Range(0.1, 1e-3, 10.0, log=True),
        {"momentum": Range(0.9, 0.5, 0.99, allowed=UNIT), "averaging_power": _AVERAGING_POWER},
        frozenset({"gradient", "eval_swap"}),
        "Defazio et al. 2024, eqs. 3-5",
    ),
    Row(
        "schedule_free_adamw",
        "adam_like",
        "optimizers.schedule_free:ScheduleFreeAdamW",
        Range(2.5e-3, 1e-5, 1e-1, log=True),
        {
            "beta_1": _BETA_1._replace(allowed=UNIT),
            "beta_2": _BETA_2,
            "epsilon": _epsilon(1e-8),
            "averaging_power": _AVERAGING_POWER,
            "weight_decay": _DECAY,
        },
        frozenset({"gradient", "eval_swap"}),
        "Defazio et al. 2024, algorithm 1",
    ),
    Row(
        "prodigy",
        "adam_like",
        "optimizers.prodigy:Prodigy",
        Range(1.0, 0.1, 10.0, log=True),
        {
            "beta_1": _BETA_1,
            "beta_2": _BETA_2,
            "epsilon": _epsilon(1e-8),
            "d0": Range(1e-6, 1e-8, 1e-2, log=True, main=False, allowed=POSITIVE),
            "d_coef": Range(1.0, 0.25, 4.0, log=True, allowed=POSITIVE),
        },
        _GRADIENT,
        "Mishchenko and Defazio 2023, algorithm 4",
    ),
    Row(
        "muon",
        "matrix",
        "optimizers.muon:Muon",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {
            "momentum": Range(0.95, 0.5, 0.99, allowed=FRACTION),
            "adam_beta_1": _BETA_1._replace(main=False),
            "adam_beta_2": _BETA_2,
            "epsilon": _epsilon(1e-8),
            "weight_decay": _DECAY,
        },
        _GRADIENT,
        "Jordan et al. 2024; Liu et al. 2025 (Moonlight), eq. 4",
    ),
    Row(
        "soap",
        "matrix",
        "optimizers.soap:SOAP",
        Range(3e-3, 1e-5, 1e-1, log=True),
        {
            "beta_1": Range(0.95, 0.5, 0.99, allowed=FRACTION),
            "beta_2": Range(0.95, 0.9, 0.9999, main=False, allowed=FRACTION),
            "epsilon": _epsilon(1e-8),
            "weight_decay": Range(0.01, 1e-6, 1e-1, log=True),
            "precondition_frequency": Range(10.0, 1.0, 100.0, log=True, main=False, allowed=POSITIVE),
        },
        _GRADIENT,
        "Vyas et al. 2024, algorithms 3 and 4",
    ),
    Row(
        "gradient_descent",
        "full_batch",
        "optimizers.gradient_descent:GradientDescent",
        Range(1.0, 0.1, 1.9),
        {"smoothness": Range(None, 1e-3, 1e4, log=True, main=False, allowed=POSITIVE)},
        _FULL_BATCH,
        "Cauchy 1847; Nesterov 2004, theorems 2.1.14-2.1.15; lecture 3.2, eq. 3",
        takes_common=False,
    ),
    Row(
        "armijo",
        "full_batch",
        "optimizers.armijo:Armijo",
        Range(1.0, 1e-2, 1e2, log=True),
        {
            "backtrack": Range(0.5, 0.1, 0.9, allowed=INSIDE),
            "decrease": Range(1e-4, 1e-5, 1e-1, log=True, allowed=INSIDE),
        },
        _FULL_BATCH,
        "Armijo 1966; Bertsekas 1999, section 1.2; lecture 3.2",
        takes_common=False,
    ),
    Row(
        "sag",
        "row_memory",
        "optimizers.sag:SAG",
        Range(0.01, 1e-4, 1.0, log=True),
        {},
        _LINEAR_MODEL,
        "Schmidt, Le Roux and Bach 2017, algorithm 1 and section 4; variance reduction is named in the lecture's contents",
    ),
    Row(
        "saga",
        "row_memory",
        "optimizers.saga:SAGA",
        Range(0.01, 1e-4, 1.0, log=True),
        {},
        _LINEAR_MODEL,
        "Defazio, Bach and Lacoste-Julien 2014, eq. 1; variance reduction is named in the lecture's contents",
    ),
)

OPTIMIZERS: Mapping[str, Row] = MappingProxyType({row.name: row for row in _ROWS})

FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "all": tuple(row.name for row in _ROWS if row.gradient_only),
        "lecture": tuple(row.name for row in _ROWS if row.gradient_only and "lecture" in row.source),
        **{
            family: tuple(row.name for row in _ROWS if row.family == family)
            for family in dict.fromkeys(row.family for row in _ROWS)
        },
    }
)
"""The words that a study may write in place of a list of methods; "all" and "lecture" are those that need a gradient only."""

_WRAPPERS = (
    Wrapper(
        "sam",
        "optimizers.sam:SAM",
        {"radius": Range(0.05, 1e-3, 1.0, log=True)},
        frozenset({"closure"}),
        "Foret et al. 2021, algorithm 1",
    ),
    Wrapper(
        "svrg",
        "optimizers.svrg:SVRG",
        {"coefficient": Range(1.0, 0.0, 1.0, allowed=UNIT)},
        frozenset({"closure", "snapshot"}),
        "Johnson and Zhang 2013, figure 1; Yin et al. 2025 (α-SVRG); named in the lecture's contents",
    ),
    Wrapper(
        "averaged",
        "optimizers.averaged:Averaged",
        {"step_power": Range(0.0, 0.0, 3.0), "rate_power": Range(0.0, 0.0, 1.0, main=False)},
        frozenset({"gradient", "eval_swap"}),
        "Polyak and Juditsky 1992; Nemirovski et al. 2009, eq. 2.15; Lacoste-Julien et al. 2012; lecture 3.3",
    ),
    Wrapper(
        "lookahead",
        "optimizers.lookahead:Lookahead",
        {"every": Range(6.0, 2.0, 20.0, log=True, main=False, allowed=POSITIVE), "pull": Range(0.5, 0.1, 1.0, allowed=UNIT)},
        frozenset({"gradient", "eval_swap"}),
        "Zhang et al. 2019, algorithm 1",
    ),
)

WRAPPERS: Mapping[str, Wrapper] = MappingProxyType({wrapper.name: wrapper for wrapper in _WRAPPERS})

_OUTSIDE, _HAT = {"epsilon_inside": False}, {"epsilon_hat": True}
_PULLS = "pulls the weights to 0 from the first step and forgets where they began; for models without hidden layers"
_CONSTANT, _AROUND_ZERO, _FROM_ONE = {"schedule": "constant"}, {"center": "zero"}, {"initial_mean_square": 1.0}

_ALIASES = (
    Alias("caffe:SGD", "momentum", 0.01, {"momentum": 0.0}),
    Alias("caffe:AdaDelta", "adadelta", 1.0, {"rho": 0.95, "epsilon": 1e-6}),
    Alias("caffe:AdaGrad", "adagrad", 0.01, {"epsilon": 1e-8}, _OUTSIDE),
    Alias("caffe:Adam", "adam", 1e-3, {"epsilon": 1e-8}, _HAT),
    Alias("caffe:Nesterov", "nesterov", 0.01, {"momentum": 0.9}, _CONSTANT),
    Alias("caffe:RMSProp", "rmsprop", 0.01, {"rho": 0.99, "epsilon": 1e-8}, _OUTSIDE),
    Alias("tf:GradientDescent", "sgd", 0.01),
    Alias("tf:Momentum", "momentum", 0.01, {"momentum": 0.9}),
    Alias("tf:Adagrad", "adagrad", 0.01, {"initial_accumulator_value": 0.1, "epsilon": 1e-30}),
    Alias("tf:Adadelta", "adadelta", 1e-3, {"rho": 0.95, "epsilon": 1e-8}),
    Alias("tf:AdagradDA", "adagrad_da", 0.01, settled=_AROUND_ZERO, caution=_PULLS),
    Alias("tf:ProximalAdagrad", "proximal_adagrad", 0.01),
    Alias("tf:Ftrl", "ftrl", 0.01, settled=_AROUND_ZERO, caution=_PULLS),
    Alias("tf:Adam", "adam", 1e-3, {"epsilon": 1e-8}, _HAT),
    Alias("tf:RMSProp", "rmsprop", 1e-3, {"rho": 0.9, "epsilon": 1e-10}, _FROM_ONE),
    Alias("tf:CenteredRMSProp", "centered_rmsprop", 1e-3, {"rho": 0.9, "epsilon": 1e-10}, _FROM_ONE),
    Alias("lasagne:sgd", "sgd", 0.01),
    Alias("lasagne:momentum", "momentum", 0.01, {"momentum": 0.9}),
    Alias("lasagne:nesterov_momentum", "nesterov", 0.01, {"momentum": 0.9}, _CONSTANT),
    Alias("lasagne:adagrad", "adagrad", 1.0, {"epsilon": 1e-6}),
    Alias("lasagne:rmsprop", "rmsprop", 1.0, {"rho": 0.9, "epsilon": 1e-6}),
    Alias("lasagne:adadelta", "adadelta", 1.0, {"rho": 0.95, "epsilon": 1e-6}),
    Alias("lasagne:adam", "adam", 1e-3, {"epsilon": 1e-8}, _HAT),
    Alias("lasagne:adamax", "adamax", 2e-3, {"epsilon": 1e-8}),
)

ALIASES: Mapping[str, Alias] = MappingProxyType({alias.name: alias for alias in _ALIASES})
"""The systems of the lecture (part III), with their names and what they mean by them; Nesterov is evaluated at x, not at y."""

WARMUP = Range(0.0, 0.0, 0.3, allowed=UNIT)
"""The share of the training in which the rate rises linearly, before any schedule."""

_SCHEDULES = (
    Schedule("constant", "optimizers.schedules:Constant", {}, "Robbins and Monro 1951; lecture 3.3"),
    Schedule(
        "inverse_time",
        "optimizers.schedules:InverseTime",
        {"gamma": Range(100.0, 1.0, 1e5, log=True)},
        "β/(k+γ), the theorem of lecture 3.3; Robbins and Monro 1951",
    ),
    Schedule("inverse_sqrt", "optimizers.schedules:InverseSqrt", {}, "c/√k, lecture 3.3; Nemirovski et al. 2009"),
    Schedule(
        "step",
        "optimizers.schedules:Step",
        {"drop": Range(0.1, 0.05, 0.9, log=True, allowed=SHARE), "every": Range(0.3, 0.1, 0.9, allowed=SHARE)},
        "He et al. 2016, section 3.4",
    ),
    Schedule(
        "cosine",
        "optimizers.schedules:Cosine",
        {"floor": Range(0.0, 0.0, 0.1, allowed=UNIT)},
        "Loshchilov and Hutter 2017, eq. 5",
    ),
    Schedule(
        "one_cycle", "optimizers.schedules:OneCycle", {"rise": Range(0.3, 0.1, 0.5, allowed=INSIDE)}, "Smith and Topin 2018"
    ),
)

SCHEDULES: Mapping[str, Schedule] = MappingProxyType({row.name: row for row in _SCHEDULES})


@functools.cache
def find(name: str) -> Row:
    """The row of a method or of `wrapper:method`.

    Raises ValueError with the known names for any other, and for a wrapper around a method that needs more than gradients.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    if name in ALIASES:
        return ALIASES[name].row
    before, _, method = name.partition(":")
    wrapper, row = WRAPPERS.get(before), OPTIMIZERS.get(method)
    if wrapper is None or row is None:
        wrapped = ", ".join([*(f"{wrapper}:<method>" for wrapper in WRAPPERS), *ALIASES])
        raise ValueError(f"no optimizer is called {name!r}; there are {', '.join(OPTIMIZERS)}; and {wrapped}")
    if row.requires != _GRADIENT:
        raise ValueError(f"{before} goes around a method that needs gradients only; {method} requires {_listed(row.requires)}")
    hyper, source = {**row.hyper, **wrapper.hyper}, f"{wrapper.source}; around {row.source}"
    return replace(row, name=name, path=wrapper.path, hyper=hyper, requires=wrapper.requires, source=source)


def _listed(names: frozenset[str]) -> str:
    return " and ".join(sorted(names))


@functools.cache
def load(name: str) -> Any:
    """The class of the method `name`, an `optimizers.base.Rule`; loads Keras.

    Raises ValueError as `find` does.
    """
    row = find(name)
    rule = _imported(row.path)
    if name in OPTIMIZERS:
        return rule
    if name in ALIASES:
        return _imported("optimizers.wrapping:preset")(rule, row)
    around = _imported("optimizers.wrapping:around")
    return around(rule, load(name.partition(":")[2]), row)


def load_schedule(name: str) -> Any:
    """The class of the schedule `name`, an `optimizers.schedules.Schedule`; loads Keras.

    Raises ValueError with the known names for any other.
    """
    if name not in SCHEDULES:
        raise ValueError(f"no schedule is called {name!r}; there are {', '.join(SCHEDULES)}")
    return _imported(SCHEDULES[name].path)


def _imported(path: str) -> Any:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)
