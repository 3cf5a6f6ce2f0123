"""What samplers and pruners see of a study: fewer trials, or one objective of several."""

import math
from collections.abc import Container

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuner.trial import Params

WEIGHTS = "parameters"  # the attribute of a trial in the replica that says how many it trains


class Several(optuna.Study):
    """A study of several objectives; where Optuna compares by a single one, as among pruned trials, it is the first."""

    @property
    def direction(self) -> StudyDirection:
        """The first objective's."""
        return self.directions[0]


class Rivals(Several):
    """What a pruner sees of a study: the trials whose networks have at most so many weights."""

    def __init__(self, study: optuna.Study, weights: int) -> None:
        super().__init__(study.study_name, study._storage, study.sampler, study.pruner)
        self._weights = weights

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:  # noqa: FBT001, FBT002
        """As many as compete."""
        return [t for t in super().get_trials(deepcopy, states) if t.user_attrs.get(WEIGHTS, math.inf) <= self._weights]


class Among(optuna.Study):
    """A study of which only the trials are seen that have certain parameters."""

    def __init__(self, having: Params, name: str, storage: BaseStorage, sampler: BaseSampler, pruner: BasePruner) -> None:
        super().__init__(name, storage, sampler, pruner)
        self.having = having

    def _get_trials(
        self,
        deepcopy: bool = True,  # noqa: FBT001, FBT002 — as Optuna calls it
        states: Container[TrialState] | None = None,
        use_cache: bool = False,  # noqa: FBT001, FBT002 — the same
    ) -> list[FrozenTrial]:
        seen = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in seen if all(trial.params.get(name) == value for name, value in self.having.items())]
