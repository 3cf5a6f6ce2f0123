"""The table of optimizers: name → class, hyper-parameters with sane ranges, what the rule requires.

`wrapper:method` is a method too, with a row made of two (`find`): `svrg:momentum`.

Importing this package loads neither Keras nor TensorFlow; `load` resolves a class on use.

The classes carry the names of the methods and are registered with Keras under the package `tuner`: the full name `tuner>Adam`
is ours, in strings (`keras.optimizers.get("tuner>Adam")`), in configs and in `.keras` files, and the bare name `Adam` stays
Keras' own. Keras knows a full name once `load` has been called for it.
"""

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple


class Range(NamedTuple):
    """What a search may try: `default` (None: left out), the ends `low` and `high`, and whether to step by factors (`log`)."""

    default: float | None
    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Row:
    """One method.

    `path` is `module:class`; `learning_rate` and `hyper` say what may be searched and are where the defaults live.
    `requires` names what the rule needs from its engine, out of "gradient" (nothing else), "eval_swap" (it stores another point
    """

    name: str
    path: str
    learning_rate: Range
    hyper: Mapping[str, Range]
    requires: frozenset[str]
    source: str
    takes_common: bool = True

    @property
    def ranges(self) -> Mapping[str, Range]:
        """All that may be searched beside the rate: its own hyper-parameters, then the common ones that it does not state."""
        common = COMMON if self.takes_common else {}
        return {**self.hyper, **{name: scope for name, scope in common.items() if name not in self.hyper}}


@dataclass(frozen=True)
class Wrapper:
    """A method around another one, `<name>:<method>`; `hyper` and `requires` take the place of, or join, the method's own."""

    name: str
    path: str
    hyper: Mapping[str, Range]
    requires: frozenset[str]
    source: str


_RHO = Range(0.9, 0.5, 0.999)
_BETA_1 = Range(0.9, 0.5, 0.99)
_BETA_2 = Range(0.999, 0.9, 0.9999)
_DECAY = Range(0.004, 1e-6, 1e-1, log=True)
_ACCUMULATOR = Range(0.1, 1e-8, 1.0, log=True)
_PROX = Range(0.0, 0.0, 0.1)
_GRADIENT = frozenset({"gradient"})
_FULL_BATCH = frozenset({"closure", "full_batch"})


def _epsilon(default: float) -> Range:
    return Range(default, 1e-10, 1e-3, log=True)


COMMON: Mapping[str, Range] = MappingProxyType(
    {
        "weight_decay": Range(None, 1e-6, 1e-1, log=True),
        "clipnorm": Range(None, 1e-1, 1e1, log=True),
        "clipvalue": Range(None, 1e-2, 1e1, log=True),
        "global_clipnorm": Range(None, 1e-1, 1e1, log=True),
    }
)
"""Hyper-parameters of every row that takes them, absent unless given or in the row itself; at most one of the three clips."""

_ROWS = (
    Row(
        "sgd",
        "optimizers.sgd:SGD",
        Range(0.01, 1e-4, 1.0, log=True),
        {},
        _GRADIENT,
        "Robbins and Monro 1951; lecture 3.3",
    ),
    Row(
        "momentum",
        "optimizers.momentum:Momentum",
        Range(0.01, 1e-5, 1.0, log=True),
        {"momentum": Range(0.9, 0.0, 0.99)},
        _GRADIENT,
        "Polyak 1964; Sutskever et al. 2013, eqs. 1-2; lecture 3.4",
    ),
    Row(
        "nesterov",
        "optimizers.nesterov:Nesterov",
        Range(0.01, 1e-5, 1.0, log=True),
        {"momentum": Range(1.0, 0.5, 1.0)},
        frozenset({"gradient", "eval_swap"}),
        "Nesterov 1983; Sutskever et al. 2013, eqs. 3-4; lecture 3.4",
    ),
    Row(
        "adagrad",
        "optimizers.adagrad:Adagrad",
        Range(0.01, 1e-4, 1.0, log=True),
        {"epsilon": _epsilon(1e-7)},
        _GRADIENT,
        "Duchi, Hazan and Singer 2011, figure 1; lecture 3.4",
    ),
    Row(
        "rmsprop",
        "optimizers.rmsprop:RMSProp",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"rho": _RHO, "epsilon": _epsilon(1e-7)},
        _GRADIENT,
        "Hinton, csc321 lecture 6e; lecture 3.4",
    ),
    Row(
        "adadelta",
        "optimizers.adadelta:Adadelta",
        Range(1.0, 1e-2, 1e1, log=True),
        {"rho": _RHO, "epsilon": _epsilon(1e-6)},
        _GRADIENT,
        "Zeiler 2012, algorithm 1; lecture 3.4",
    ),
    Row(
        "adam",
        "optimizers.adam:Adam",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8)},
        _GRADIENT,
        "Kingma and Ba 2015, algorithm 1; lecture 3.4",
    ),
    Row(
        "nadam",
        "optimizers.nadam:Nadam",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {
            "beta_1": _BETA_1,
            "beta_2": _BETA_2,
            "epsilon": _epsilon(1e-8),
            "momentum_decay": Range(0.004, 1e-3, 1.0, log=True),
        },
        _GRADIENT,
        "Dozat 2016 (ICLR workshop); named in lecture 3.4",
    ),
    Row(
        "centered_rmsprop",
        "optimizers.centered_rmsprop:CenteredRMSProp",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"rho": _RHO, "epsilon": _epsilon(1e-7), "momentum": Range(0.0, 0.0, 0.99)},
        _GRADIENT,
        "Graves 2013, eqs. 38-41; named in lecture 3.4",
    ),
    Row(
        "adamax",
        "optimizers.adamax:Adamax",
        Range(2e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8)},
        _GRADIENT,
        "Kingma and Ba 2015, algorithm 2; named in lecture 3.4",
    ),
    Row(
        "adamw",
        "optimizers.adamw:AdamW",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8), "weight_decay": _DECAY},
        _GRADIENT,
        "Loshchilov and Hutter 2019, algorithm 2",
    ),
    Row(
        "amsgrad",
        "optimizers.amsgrad:AMSGrad",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8)},
        _GRADIENT,
        "Reddi, Kale and Kumar 2018, algorithm 2",
    ),
    Row(
        "nadamw",
        "optimizers.nadamw:NadamW",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": _BETA_2, "epsilon": _epsilon(1e-8), "weight_decay": _DECAY},
        _GRADIENT,
        "Dozat 2016, algorithm 2 with a constant μ; Dahl et al. 2023 (AlgoPerf)",
    ),
    Row(
        "lion",
        "optimizers.lion:Lion",
        Range(3e-4, 1e-5, 1e-1, log=True),
        {"beta_1": _BETA_1, "beta_2": Range(0.99, 0.9, 0.9999)},
        _GRADIENT,
        "Chen et al. 2023, algorithm 2",
    ),
    Row(
        "lamb",
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
        "optimizers.proximal_adagrad:ProximalAdagrad",
        Range(0.01, 1e-4, 1.0, log=True),
        {"initial_accumulator_value": _ACCUMULATOR, "prox_l1": _PROX, "prox_l2": _PROX},
        _GRADIENT,
        "Duchi and Singer 2009, eqs. 2-3; Duchi, Hazan and Singer 2011, eq. 4; named in lecture 3.4",
    ),
    Row(
        "adagrad_da",
        "optimizers.dual_averaging:AdagradDA",
        Range(0.01, 1e-4, 1.0, log=True),
        {"initial_accumulator_value": _ACCUMULATOR, "prox_l1": _PROX, "prox_l2": _PROX},
        _GRADIENT,
        "Duchi, Hazan and Singer 2011, eq. 3; named in lecture 3.4",
    ),
    Row(
        "ftrl",
        "optimizers.dual_averaging:Ftrl",
        Range(0.01, 1e-4, 1.0, log=True),
        {
            "initial_accumulator_value": _ACCUMULATOR,
            "beta": Range(0.0, 0.0, 10.0),
            "prox_l1": _PROX,
            "prox_l2": _PROX,
        },
        _GRADIENT,
        "McMahan et al. 2013, algorithm 1; named in lecture 3.4",
    ),
    Row(
        "ademamix",
        "optimizers.ademamix:AdEMAMix",
        Range(1e-3, 1e-5, 1e-1, log=True),
        {
            "beta_1": _BETA_1,
            "beta_2": _BETA_2,
            "beta_3": Range(0.9999, 0.9, 0.99999),
            "alpha": Range(5.0, 0.0, 20.0),
            "warmup_steps": Range(1e4, 1e2, 1e6, log=True),
            "epsilon": _epsilon(1e-8),
        },
        _GRADIENT,
        "Pagliardini, Ablin and Grangier 2024, eq. (AdEMAMix) and its schedulers",
    ),
    Row(
        "gradient_descent",
        "optimizers.gradient_descent:GradientDescent",
        Range(1.0, 0.1, 1.9),
        {"smoothness": Range(None, 1e-3, 1e4, log=True)},
        _FULL_BATCH,
        "Cauchy 1847; Nesterov 2004, theorems 2.1.14-2.1.15; lecture 3.2, eq. 3",
        takes_common=False,
    ),
    Row(
        "armijo",
        "optimizers.armijo:Armijo",
        Range(1.0, 1e-2, 1e2, log=True),
        {"backtrack": Range(0.5, 0.1, 0.9), "decrease": Range(1e-4, 1e-5, 1e-1, log=True)},
        _FULL_BATCH,
        "Armijo 1966; Bertsekas 1999, section 1.2; lecture 3.2",
        takes_common=False,
    ),
)

OPTIMIZERS: Mapping[str, Row] = MappingProxyType({row.name: row for row in _ROWS})

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
        {"coefficient": Range(1.0, 0.0, 1.0)},
        frozenset({"closure", "snapshot"}),
        "Johnson and Zhang 2013, figure 1; Yin et al. 2025 (α-SVRG); named in the lecture's contents",
    ),
)

WRAPPERS: Mapping[str, Wrapper] = MappingProxyType({wrapper.name: wrapper for wrapper in _WRAPPERS})


@functools.cache
def find(name: str) -> Row:
    """The row of a method or of `wrapper:method`.

    Raises ValueError with the known names for any other, and for a wrapper around a method that needs more than gradients.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    before, _, method = name.partition(":")
    wrapper, row = WRAPPERS.get(before), OPTIMIZERS.get(method)
    if wrapper is None or row is None:
        wrapped = ", ".join(f"{wrapper}:<method>" for wrapper in WRAPPERS)
        raise ValueError(f"no optimizer is called {name!r}; there are {', '.join(OPTIMIZERS)}; and {wrapped}")
    if row.requires != _GRADIENT:
        raise ValueError(f"{before} goes around a method that needs gradients only; {method} requires {_listed(row.requires)}")
    hyper, source = {**row.hyper, **wrapper.hyper}, f"{wrapper.source}; around {row.source}"
    return Row(name, wrapper.path, row.learning_rate, hyper, wrapper.requires, source)


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
    around = _imported("optimizers.wrapping:around")
    return around(rule, load(name.partition(":")[2]), row)


def _imported(path: str) -> Any:
    module, member = path.split(":")
    return getattr(importlib.import_module(module), member)
