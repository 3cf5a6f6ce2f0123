"""Studies with several objectives or with constraints: the front, what is pruned, what samplers learn, what a race is between."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import study_spec
from tests.test_cli import tuner
from tests.test_race import launch, work
from tests.test_search import World, row
from tuner import race
from tuner.pareto import breaking, front, undominated
from tuner.search import Search
from tuner.store import Row, Stage, Store
from tuner.trial import Epoch, Outcome, Params, State

SEARCH = {"width": {"int": [1, 24]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}}
SEVERAL: dict[str, Any] = {"objective": ["val_accuracy", "parameters"], "search": SEARCH, "budget": 60}


def cost(params: Params) -> int:
    return 100 * int(params["width"])


class Costly(World):
    """The wider, the better up to a width of 12, and the dearer."""

    def weights(self, params: Params) -> int:
        return cost(params)

    def outcome(self, search: Search, number: int, params: Params) -> Outcome:
        outcome = super().outcome(search, number, params)
        return replace(outcome, costs={"parameters": cost(params)}) if outcome.state is State.COMPLETE else outcome

    def train(self, search: Search, numbers: Iterable[int]) -> None:
        for number in numbers:
            super().train(search, [number])
            done, params = self.rows[number], self.rows[number].params or {}
            costs = {"parameters": cost(params)} if done.state is State.COMPLETE else {}
            self.rows[number] = replace(done, parameters=cost(params), costs=costs)


def made(*points: tuple[State, float, float]) -> list[Row]:
    return [replace(row(n, state, {}, value), costs={"parameters": cost}) for n, (state, value, cost) in enumerate(points)]


def test_the_front_is_what_nothing_dominates() -> None:
    points = np.random.default_rng(0).integers(0, 6, (200, 3)).astype(float)

    def dominated(point: np.ndarray[Any, Any]) -> bool:
        return bool(np.any(np.all(points <= point, axis=1) & np.any(points < point, axis=1)))

    assert sorted(undominated(points)) == [place for place in range(200) if not dominated(points[place])]


def test_only_complete_trials_that_keep_to_the_constraints_are_on_the_front() -> None:
    done, pruned, failed = State.COMPLETE, State.PRUNED, State.FAILED
    spec = study_spec(**SEVERAL, constraints=["parameters <= 50"])
    ends = (
        (done, 0.9, 60),
        (done, 0.8, 50),
        (done, 0.8, 40),
        (pruned, 0.9, 10),
        (failed, 0.9, 9),
        (done, 0.3, 7),
        (done, 0.3, 8),
    )
    rows = made(*ends)
    assert [found.number for found in front(spec, rows)] == [2, 5]
    assert breaking(spec, rows) == {"parameters <= 50": 1}
    assert front(spec, []) == []
    one = study_spec(search=SEARCH)
    assert [found.number for found in front(one, rows)] == [0]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_restarted_search_of_several_objectives_goes_on_as_if_nothing_had_happened(sampler: str) -> None:
    spec = study_spec(**SEVERAL, sampler=sampler, pruner="asha", train={"epochs": 9}, constraints=["parameters <= 1500"])
    straight, broken = Costly(spec), Costly(spec)
    straight.train(Search(spec), range(40))
    broken.train(Search(spec), range(25))
    broken.train(broken.replica(), range(25, 40))
    assert {n: r.params for n, r in broken.rows.items()} == {n: r.params for n, r in straight.rows.items()}
    assert {n: r.state for n, r in broken.rows.items()} == {n: r.state for n, r in straight.rows.items()}


@pytest.mark.parametrize(
    ("sampler", "bounds", "most", "share"), [("tpe", [], 12, 0.75), ("tpe", [600], 6, 0.6), ("nsga2", [600], 6, 0.42)]
)
def test_samplers_learn_of_every_objective_and_of_constraints(sampler: str, bounds: list[int], most: int, share: float) -> None:
    """Widths above 12 are dominated, and the constraint leaves those up to 6: by chance these were 0.5 and 0.25 of all."""
    spec = study_spec(**SEVERAL, sampler=sampler, constraints=[f"parameters <= {bound}" for bound in bounds])
    world = Costly(spec)
    world.train(Search(spec), range(60))
    assert np.mean([int((world.rows[n].params or {})["width"]) <= most for n in range(30, 60)]) > share


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_a_small_network_is_not_given_up_because_a_larger_one_is_better(pruner: str) -> None:
    spec = study_spec(**SEVERAL, pruner={"name": pruner, "from_epoch": 1}, train={"epochs": 9})
    search = Search(spec)

    def hopeless(number: int, value: float, weights: int) -> bool:
        search.ask(number)
        given_up = search.hopeless(Epoch(number, 1, {"val_accuracy": value}, 0.1, weights))
        search.tell(number, Outcome(State.PRUNED if given_up else State.COMPLETE, value, costs={"parameters": weights}))
        return given_up

    large = [hopeless(number, 0.9, 1000) for number in range(6)]
    assert not any(large)
    assert not hopeless(6, 0.2, 10)
    assert hopeless(7, 0.2, 1000)
    assert hopeless(8, 0.1, 2000)


def test_patience_waits_for_the_front_and_the_target_for_a_trial_that_counts() -> None:
    budget = {"trials": 9, "patience": 2, "target": 0.8}
    spec = study_spec(**{**SEVERAL, "budget": budget}, constraints=["parameters <= 50"])
    search = Search(spec)
    for number, (value, weights) in enumerate([(0.9, 60), (0.5, 40), (0.4, 40), (0.3, 20), (0.3, 30)]):
        search.ask(number)
        search.tell(number, Outcome(State.COMPLETE, value, costs={"parameters": weights}))
        assert search.exhausted() == ""
    search.ask(5)
    search.tell(5, Outcome(State.COMPLETE, 0.2, costs={"parameters": 20}))
    assert search.exhausted() == "budget.patience: no trial of the last 2 came to the front after trial 3"
    search.ask(6)
    search.tell(6, Outcome(State.COMPLETE, 0.85, costs={"parameters": 50}))
    assert search.exhausted() == "budget.target: trial 6 reached 0.85"


def test_the_first_of_the_front_race_and_none_is_dropped(tables: Store, tmp_path: Path) -> None:
    """Widths 12, 11 and 4 are on the front, 14 fails, 16 is dominated; a race of one objective would drop width 4."""
    aims = {"objective": ["val_accuracy", "parameters"], "constraints": ["latency_ms <= 12.5"]}
    study = launch(tables, [16, 4, 12, 11, 14], **aims)
    work(tables, study, tmp_path)
    found = race.result(tables, study)
    assert found is not None
    assert [row.costs.get("parameters") for row in tables.trials(study)] == [16, 4, 12, 11, None]
    assert {one.trial: (one.costs, len(one.values)) for one in found.finalists} == {
        number: ({"parameters": width, "latency_ms": width}, 6) for number, width in ((2, 12), (3, 11), (1, 4))
    }
    assert found.winner is not None
    assert found.winner.trial == 2
    assert found.score is not None
    assert found.score.value is not None
    stage = next(stage for stage in tables.stages(study) if stage.stage is Stage.RACE)
    assert stage.spec.costs == ()
    assert tables.leaders(study, 9)[0].number == 2

    told = json.loads(tuner(tmp_path, "best", "small", "--db", ".", "--json").stdout)
    assert [(one["trial"], one["costs"], one["race"]["fate"]) for one in told] == [
        (one.trial, one.costs, one.fate) for one in found.finalists
    ]
    assert "test" in told[0]
    text = tuner(tmp_path, "best", "small", "--db", ".", "--top", "2").stdout
    assert text.startswith("winner: trial 2 (parameters 12, latency_ms 12), val_accuracy ")
    assert "trials that break latency_ms <= 12.5: 1\ntrials on the Pareto front: 3; " in text
    status = json.loads(tuner(tmp_path, "status", "small", "--db", ".", "--json").stdout)
    assert (status["pareto_front"], status["breaking"]) == ([2, 3, 1], {"latency_ms <= 12.5": 1})
