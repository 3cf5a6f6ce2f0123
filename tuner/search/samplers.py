"""Optuna's samplers and pruners as a study file names them.

A sampler is made anew for every ask, from the study's seed, the trial's number and the attempt; CMA-ES alone keeps a state.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from tuner.dimension import Dimension
from tuner.search.seen import Among
from tuner.space import Space
from tuner.spec import FloatRange, IntRange, StudySpec, values

LEARNING = ("tpe", "nsga2", "gp", "cmaes")  # samplers that begin with random trials


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """What Optuna calls the values of a parameter."""
    match dimension.parameter:
        case IntRange(int=(low, high), log=log, step=step):
            return IntDistribution(low, low + (high - low) // step * step, log=log, step=step)
        case FloatRange(float=(low, _), log=log, step=fstep):
            return FloatDistribution(low, dimension.last, log=log, step=fstep)
        case parameter:
            return CategoricalDistribution(values(parameter))


@contextmanager
def _experimental() -> Iterator[None]:
    """Optuna warns that the interfaces of some samplers and pruners may change; the version is pinned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


class _Sobol(QMCSampler):
    """Optuna's QMC sampler over the whole space, point `n` for trial `n` whoever asks: no counter to keep or to lose."""

    def __init__(self, space: Space, others: BaseSampler) -> None:
        with _experimental():
            super().__init__(seed=space.spec.seed, scramble=True, independent_sampler=others, warn_independent_sampling=False)
        self._space = {d.name: distribution_of(d) for d in space.free.values() if not d.parents}
        self._number = 0

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter that exists in all configurations."""
        self._number = trial.number
        return self._space

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


class _Generations(NSGAIISampler):
    """Optuna's NSGA-II with parents that are the same whoever asks for them, and of which each ranked value has its own.

    Optuna remembers the parents of a generation for a whole study, and has them in another order when it remembers them.
    """

    _whose = ""

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The best of all generations before this one, by their numbers."""
        self._whose = json.dumps(dict(study.having)) if isinstance(study, Among) else ""
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)

    @classmethod
    def _get_generation_key(cls) -> str:
        return NSGAIISampler._get_generation_key()  # else it would be the name of this class that is stored with the trials

    def _get_parent_cache_key_prefix(self) -> str:  # type: ignore[override]
        return f"{super()._get_parent_cache_key_prefix()}{self._whose}:"


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


Factory = Callable[[int, int], BaseSampler]
"""A trial's number and which attempt it is at parameters that nobody had → the sampler that draws them."""


def _tpe(space: Space) -> Factory:
    startup = space.spec.sampler.startup
    return lambda number, attempt: TPESampler(n_startup_trials=startup, seed=_seed(space.spec.seed, number, attempt))


def _nsga2(space: Space) -> Factory:
    size = max(2, space.spec.sampler.startup)
    return lambda number, attempt: _Generations(population_size=size, seed=_seed(space.spec.seed, number, attempt))


def _random(space: Space) -> Factory:
    return lambda number, attempt: RandomSampler(seed=_seed(space.spec.seed, number, attempt))


def _qmc(space: Space) -> Factory:
    drawn = _random(space)
    return lambda number, attempt: _Sobol(space, drawn(number, attempt)) if attempt == 0 else drawn(number, attempt)


def _gp(space: Space) -> Factory:
    startup = space.spec.sampler.startup
    return lambda number, attempt: GPSampler(n_startup_trials=startup, seed=_seed(space.spec.seed, number, attempt))


def _cmaes(space: Space) -> Factory:
    with _experimental():
        sampler = CmaEsSampler(n_startup_trials=space.spec.sampler.startup, seed=space.spec.seed)
    drawn = _random(space)
    return lambda number, attempt: sampler if attempt == 0 else drawn(number, attempt)


_SAMPLERS: Mapping[str, Callable[[Space], Factory]] = {
    "tpe": _tpe,
    "nsga2": _nsga2,
    "random": _random,
    "qmc": _qmc,
    "gp": _gp,
    "cmaes": _cmaes,
    "grid": _random,
}

_PRUNERS: Mapping[str, Callable[[StudySpec], BasePruner]] = {
    "asha": lambda spec: SuccessiveHalvingPruner(
        min_resource=spec.pruner.from_epoch, reduction_factor=spec.pruner.factor, min_early_stopping_rate=0
    ),
    "hyperband": lambda spec: HyperbandPruner(
        min_resource=spec.pruner.from_epoch, max_resource=spec.train.epochs, reduction_factor=spec.pruner.factor
    ),
    "median": lambda spec: MedianPruner(n_warmup_steps=spec.pruner.from_epoch),
    "none": lambda spec: NopPruner(),
}


def sampler_of(space: Space) -> Factory:
    """The sampler that the study of a space wants."""
    return _SAMPLERS[space.spec.sampler.name](space)


def pruner_of(spec: StudySpec) -> BasePruner:
    """The pruner that a study wants."""
    with _experimental():
        return _PRUNERS[spec.pruner.name](spec)
