"""The only door to Optuna: ask for parameters, tell outcomes, say whether a trial is hopeless.

Optuna is the brain, in memory; the store is the truth. A `Search` is a replica: an in-memory study whose trial numbers are ours,
rebuilt from rows and kept in step with them. Samplers and pruners hide their memory in *system attributes* (a rung that was
reached, a bracket), so these travel with the row as `attrs`.

A proposal is a function of (seed, trial number, history): the sampler is made anew for every number. After a restart the same
search goes on as if nothing had happened, instead of repeating its first random numbers. CMA-ES alone keeps a state of its own (a
pickle, which is never stored): after a restart it begins with a fresh distribution.

With several objectives a sampler learns from all of them, and from how far a trial exceeds the study's constraints. Pruning goes
by the first objective, which is the only one that changes in training, and sets a trial beside those alone whose networks have no
more weights than its own: a small network is not given up because a larger one is better. So no trial is pruned that nothing at
the rung dominates in this objective and the weights; one that is dominated must be among the best of those that are as small.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.dimension import Dimension
from tuner.errors import BadInput
from tuner.packing import Packing
from tuner.pareto import undominated
from tuner.search.samplers import LEARNING, distribution_of, pruner_of, sampler_of
from tuner.search.seen import WEIGHTS, Among, Rivals, Several
from tuner.space import Space
from tuner.spec import Fixed, Parameter, StudySpec, contains, enqueued, values
from tuner.store import ANEW, Row, Store, Study
from tuner.trial import Epoch, Outcome, Params, State, Value

RETRIES = 20  # how often a configuration that was tried before is drawn again
DUPLICATE = "duplicate_of"
PRIVATE = "cma:"  # attributes with this prefix hold a pickle and never leave the process

_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.CANCELLED: TrialState.FAIL,
    State.RUNNING: TrialState.RUNNING,
    State.QUEUED: TrialState.WAITING,
}


@dataclass(frozen=True)
class Proposal:
    """Parameters for a trial, and what the sampler noted; `DUPLICATE` among it names an earlier trial that had the same."""

    params: Params
    attrs: Mapping[str, Any]


class Search:
    """A study's sampler and pruner over a replica of its rows."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.space = Space(spec)
        self._packing = Packing(self.space)
        self._distributions = {name: distribution_of(d) for name, d in self.space.free.items()}
        # TPE would find out from all trials which parameters exist in each of them, at the price of half an ask; we know.
        unconditional = (d.name for d in self.space.free.values() if not d.parents and d.count > 1)
        # With several objectives it learns each parameter by itself, as Optuna has it.
        jointly = spec.sampler.name == "tpe" and not spec.objective.further
        self._joint = {name: self._distributions[name] for name in unconditional} if jointly else None
        self._sampler = sampler_of(self.space)
        self._enqueued = enqueued(spec)
        self._keys: dict[str, int] = {}
        self._grid = self._shuffled_grid() if spec.sampler.name == "grid" else None
        self._study = optuna.create_study(
            study_name=spec.name, directions=directions(spec), sampler=RandomSampler(), pruner=pruner_of(spec)
        )
        self._storage = self._study._storage
        self._kind = Several if spec.objective.further else optuna.Study
        self._ids: list[int] = []
        self._lowest_open = 0

    # Keeping in step ------------------------------------------------------------

    @property
    def lowest_open(self) -> int:
        """The number below which every trial has ended here; rows from it on can still bring news."""
        while self._lowest_open < len(self._ids) and self._frozen(self._lowest_open).state.is_finished():
            self._lowest_open += 1
        return self._lowest_open

    def unfinished(self, rows: Iterable[Row]) -> list[Row]:
        """Those of the rows that the replica has not seen the end of."""
        return [r for r in rows if r.number >= len(self._ids) or not self._frozen(r.number).state.is_finished()]

    def sync(self, rows: Iterable[Row], epochs: Mapping[int, Iterable[Epoch]]) -> None:
        """Take over rows of the store, each with its epochs; rows that ended here already are left alone."""
        for row in self.unfinished(rows):
            if row.state is State.QUEUED and row.params is None:
                continue
            if row.number >= len(self._ids) and row.state.ended:
                self._reach(row.number - 1)
                self._append(_frozen_from(row, epochs.get(row.number, ()), self))
            else:
                self._follow(row, epochs.get(row.number, ()))

    def _follow(self, row: Row, epochs: Iterable[Epoch]) -> None:
        """Bring a trial that is waiting or running in the replica to the row's state."""
        trial_id = self._running(row.number)
        self._set_params(row.number, row.params or {})
        for key, value in row.attrs.items():
            self._storage.set_trial_system_attr(trial_id, key, value)
        if self.spec.objective.further:
            self._storage.set_trial_user_attr(trial_id, WEIGHTS, row.parameters)
        for epoch in epochs:
            self._report(trial_id, epoch)
        if row.state.ended:
            self._end(row.number, row)

    def _reach(self, number: int) -> None:
        """Let the replica have this number: a placeholder waits under every number not yet begun."""
        while len(self._ids) <= number:
            self._append(FrozenTrial(0, TrialState.WAITING, None, None, None, {}, {}, {}, {}, {}, 0))

    def _append(self, template: FrozenTrial) -> None:
        self._ids.append(self._storage.create_new_trial(self._study._study_id, template_trial=template))
        if template.params:
            self._keys.setdefault(self._key(template.params), len(self._ids) - 1)

    def _running(self, number: int) -> int:
        self._reach(number)
        trial_id = self._ids[number]
        if self._frozen(number).state is TrialState.WAITING:
            self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return trial_id

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._ids[number])

    def _set_params(self, number: int, params: Params) -> None:
        if not params:
            return
        known = self._frozen(number).params
        for name, value in params.items():
            if name in self._distributions and name not in known:
                distribution = self._distributions[name]
                internal = distribution.to_internal_repr(value)
                self._storage.set_trial_param(self._ids[number], name, internal, distribution)
        self._keys.setdefault(self._key(params), number)

    def _key(self, params: Params) -> str:
        return json.dumps({k: v for k, v in params.items() if k in self._distributions}, sort_keys=True)

    # Asking ------------------------------------------------------------

    def params(self, number: int) -> Params:
        """The free parameters of a trial that was proposed or taken over."""
        return self._frozen(number).params

    def ask(self, number: int, beside: Params | None = None) -> Proposal:
        """Parameters for trial `number`: enqueued ones first, then what the sampler proposes.

        With `beside`, the parameters of another trial, a sampler keeps to what may train in one pack with it; the points of a
        grid or of a sequence are given. In a small space a configuration that was tried already is drawn again, up to `RETRIES`
        times.
        """
        trial_id = self._running(number)
        given = number < len(self._enqueued)
        for attempt in range(1 if given or len(self._keys) >= self.space.size else RETRIES):
            params = self._draw(number, attempt, beside)
            twin = self._keys.get(self._key(params))
            if twin is None:
                break
        if twin is not None:
            self._storage.set_trial_system_attr(trial_id, DUPLICATE, twin)
        self._set_params(number, params)
        return Proposal(params, self.attrs(number))

    def _draw(self, number: int, attempt: int, beside: Params | None) -> dict[str, Value]:
        if self._grid is not None:
            return self.space.nth(int(self._grid[number]))
        ranked = self._turn(number)
        alike = self._alike(number, beside, ranked)
        given = self._given(number, attempt, alike) | ranked
        narrow = {n: distribution_of(replace(self.space.free[n], parameter=p)) for n, p in alike.items() if n not in given}
        sampler, frozen = self._sampler(number, attempt), self._frozen(number)
        study = optuna.pruners._filter_study(self._seen(ranked, sampler), frozen)
        sampler.before_trial(study, frozen)
        if self._joint is None:
            joint = sampler.infer_relative_search_space(study, frozen)
        else:  # TPE learns from the trials outside of a narrower range too, but knows choices by their places
            joint = {n: d if isinstance(d, CategoricalDistribution) else narrow.get(n, d) for n, d in self._joint.items()}
        if self.spec.sampler.name != "cmaes":  # its one distribution is of all parameters; of fewer it draws nothing
            joint = {n: d for n, d in joint.items() if n not in given}
        relative = sampler.sample_relative(study, frozen, joint)

        def suggest(dimension: Dimension) -> Value:
            name, distribution = dimension.name, self._distributions[dimension.name]
            if name in given:
                return given[name]
            allowed = narrow.get(name, distribution)
            if name in relative and contains(alike.get(name, dimension.parameter), value := _plain(relative[name])):
                return value
            if allowed != distribution:
                return self._narrowed(partial(sampler.sample_independent, study, frozen, name), distribution, allowed)
            return _plain(sampler.sample_independent(study, frozen, name, distribution))

        return self.space.choose(suggest)

    def _alike(self, number: int, beside: Params | None, ranked: Params) -> Mapping[str, Parameter]:
        """What a trial may have beside another; empty when its parameters are given, or when whose turn it is does not fit."""
        if beside is None or number < len(self._enqueued) or self.spec.sampler.name == "qmc":
            return {}
        alike = self._packing.alike(beside)
        return alike if all(value in values(alike[name]) for name, value in ranked.items() if name in alike) else {}

    def _given(self, number: int, attempt: int, alike: Mapping[str, Parameter]) -> dict[str, Value]:
        """The parameters of a trial that no sampler is asked for."""
        given = self._enqueued[number] if number < len(self._enqueued) else {} if attempt else self._dealt(number)
        fitting = {name: value for name, value in given.items() if name not in alike or value in values(alike[name])}
        return fitting | {name: parameter.value for name, parameter in alike.items() if isinstance(parameter, Fixed)}

    def _narrowed(
        self, sample: Callable[[BaseDistribution], Any], distribution: BaseDistribution, narrowed: BaseDistribution
    ) -> Value:
        """A value of a distribution that a narrower one has too.

        Samplers know choices by their places, so these are drawn from all until one is allowed, or from the allowed at last.
        """
        if not isinstance(narrowed, CategoricalDistribution):
            return _plain(sample(narrowed))
        for _ in range(RETRIES):
            if (value := _plain(sample(distribution))) in narrowed.choices:
                return value
        return _plain(narrowed.choices[0])

    def _dealt(self, number: int) -> dict[str, Value]:
        """The optimizer of a trial before the sampler learns: dealt like cards, where chance alone would leave some out."""
        chosen = self.space.free.get("optimizer")
        if self.spec.sampler.name not in LEARNING or number >= self.spec.sampler.startup or chosen is None or chosen.parents:
            return {}
        return {"optimizer": self._card("optimizer", number)}

    def _turn(self, number: int) -> dict[str, Value]:
        """The value of the ranked parameter that a trial is to have: an enqueued one, else all have equal shares."""
        rank = self.spec.rank
        given = self._enqueued[number] if number < len(self._enqueued) else {}
        return {} if rank is None else {rank: given[rank] if rank in given else self._card(rank, number)}

    def _card(self, name: str, number: int) -> Value:
        choices = values(self.space.free[name].parameter)
        rounds, place = divmod(number, len(choices))
        choice: Value = choices[np.random.default_rng((self.spec.seed, rounds)).permutation(len(choices))[place]]
        return choice

    def _seen(self, ranked: Params, sampler: BaseSampler) -> optuna.Study:
        """The study for one look: Optuna's own object remembers the trials that it has seen for the length of one of its asks.

        Of values that are ranked, only the trials of this one are seen.
        """
        if not ranked:
            return self._kind(self.spec.name, self._storage, sampler, self._study.pruner)
        return Among(ranked, self.spec.name, self._storage, sampler, self._study.pruner)

    def _shuffled_grid(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.random.default_rng(self.spec.seed).permutation(int(self.space.size))

    # Telling ------------------------------------------------------------

    def hopeless(self, epoch: Epoch) -> bool:
        """Take in an epoch of a running trial; whether the pruner gives the trial up."""
        trial_id = self._running(epoch.number)
        self._report(trial_id, epoch)
        if epoch.epoch >= self.spec.train.epochs:
            return False
        trial, rank = self._storage.get_trial(trial_id), self.spec.rank
        if self.spec.objective.further:
            self._storage.set_trial_user_attr(trial_id, WEIGHTS, epoch.parameters)
            return self._study.pruner.prune(Rivals(self._study, epoch.parameters), trial)
        rivals = self._study if rank is None else self._seen({rank: trial.params[rank]}, self._study.sampler)
        return self._study.pruner.prune(rivals, trial)

    def attrs(self, number: int) -> Mapping[str, Any]:
        """What the sampler and the pruner noted on a trial, to be stored with it."""
        return _public(self._frozen(number).system_attrs)

    def tell(self, number: int, outcome: Outcome) -> None:
        """Take in the end of a trial."""
        self._running(number)
        self._end(number, outcome)

    def best_value(self, number: int) -> float | None:
        """The best objective that a trial has reported so far."""
        reported = [v for v in self._frozen(number).intermediate_values.values() if np.isfinite(v)]
        return (max if self.spec.objective.maximise else min)(reported) if reported else None

    def exhausted(self) -> str:
        """Why the study should end before its trials are used up; empty when it should go on."""
        budget, maximise = self.spec.budget, self.spec.objective.maximise
        if budget.target is None and budget.patience is None:
            return ""
        ended = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        complete = [t for t in ended if t.state is TrialState.COMPLETE and all(excess <= 0 for excess in t.constraints.values())]
        if not complete:
            return ""
        best = (max if maximise else min)(complete, key=lambda t: t.values[0])
        value = best.values[0]
        if budget.target is not None and (value >= budget.target if maximise else value <= budget.target):
            return f"budget.target: trial {best.number} reached {value:g}"
        newest = self._newest(complete) if self.spec.objective.further else best.number
        since = sum(t.number > newest for t in ended)
        if budget.patience is not None and since >= budget.patience:
            better = "came to the front after" if self.spec.objective.further else "was better than"
            return f"budget.patience: no trial of the last {since} {better} trial {newest}"
        return ""

    def _newest(self, complete: Sequence[FrozenTrial]) -> int:
        """The last trial that came to the Pareto front."""
        signs = [-1 if direction is StudyDirection.MAXIMIZE else 1 for direction in directions(self.spec)]
        front = undominated(np.array([trial.values for trial in complete]) * signs)
        return max(complete[place].number for place in front)

    def _report(self, trial_id: int, epoch: Epoch) -> None:
        value = epoch.metrics.get(self.spec.objective.metric)
        known = self._storage.get_trial(trial_id).intermediate_values
        if value is not None and epoch.epoch not in known:
            self._storage.set_trial_intermediate_value(trial_id, epoch.epoch, value)

    def _end(self, number: int, end: Outcome | Row) -> None:
        reported, state = _reported(self.spec, end), _STATES[end.state]
        for key, excess in _excesses(self.spec, end).items():
            self._storage.set_trial_system_attr(self._ids[number], key, excess)
        self._sampler(number, 0).after_trial(self._study, self._frozen(number), state, reported)
        self._storage.set_trial_state_values(self._ids[number], state, reported)


# Limits of the budget ------------------------------------------------------------


def out_of_time(store: Store, study: Study) -> str:
    """Why the study should end now, if its hours are over; empty when it should go on."""
    hours = study.spec.budget.hours
    if hours is None or store.clock() - study.created < hours * 3600:
        return ""
    return f"budget.hours: {hours:g} hours are over"


def extend(store: Store, study: Study, trials: int) -> Study:
    """Add trials to a study, as `Store.extend` does. Raises `BadInput` where a limit of its budget would cancel them at once."""
    search = Search(study.spec)
    search.sync(store.trials(study), {})
    if reason := search.exhausted() or out_of_time(store, study):
        raise BadInput(f"{study.name}: {reason}; more trials would be cancelled at once; {ANEW} with another budget")
    return store.extend(study, trials)


# Objectives and constraints ------------------------------------------------------------


def directions(spec: StudySpec) -> list[StudyDirection]:
    """Where each objective should go: the metric's, and downwards for every cost."""
    first = StudyDirection.MAXIMIZE if spec.objective.maximise else StudyDirection.MINIMIZE
    return [first, *(StudyDirection.MINIMIZE for _ in spec.objective.further)]


def _reported(spec: StudySpec, end: Outcome | Row) -> list[float] | None:
    """The objectives of a trial that has ended; of a pruned one Optuna takes a value only where there is one objective."""
    several = bool(spec.objective.further)
    if end.value is None or not (end.state is State.COMPLETE or (end.state is State.PRUNED and not several)):
        return None
    return [end.value, *(end.costs[name] for name in spec.objective.further)]


def _excesses(spec: StudySpec, end: Outcome | Row) -> dict[str, float]:
    """By which part a trial exceeds each constraint whose cost is known, under the names by which Optuna knows constraints."""
    known = (constraint for constraint in spec.constraints if constraint.cost in end.costs)
    return {f"constraints:{constraint}": constraint.excess(end.costs) for constraint in known}


def frozen_trials(spec: StudySpec, rows: Iterable[Row], epochs: Mapping[int, Iterable[Epoch]]) -> list[FrozenTrial]:
    """The rows as Optuna's own trials, for its plots and for a real `optuna.Study`."""
    search = Search(spec)
    return [_frozen_from(row, epochs.get(row.number, ()), search) for row in rows if row.params is not None]


def _frozen_from(row: Row, epochs: Iterable[Epoch], search: Search) -> FrozenTrial:
    metric = search.spec.objective.metric
    params = {k: v for k, v in (row.params or {}).items() if k in search._distributions}
    trial = create_trial(
        state=_STATES[row.state],
        values=_reported(search.spec, row),
        params=params,
        distributions={name: search._distributions[name] for name in params},
        intermediate_values={e.epoch: e.metrics[metric] for e in epochs if metric in e.metrics},
        system_attrs={**row.attrs, **_excesses(search.spec, row)},
        user_attrs={WEIGHTS: row.parameters},
    )
    trial.number = row.number
    return trial


def _plain(value: Any) -> Value:
    """Samplers return NumPy scalars; rows hold JSON."""
    plain: Value = value.item() if isinstance(value, np.generic) else value
    return plain


def _public(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if not key.startswith(PRIVATE)}


optuna.logging.set_verbosity(logging.ERROR)  # else it warns at every conditional parameter
