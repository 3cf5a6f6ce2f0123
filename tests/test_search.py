"""Optuna behind its door: numbers, replicas, duplicates, pruning."""

import math
from collections import Counter
from collections.abc import Iterable
from statistics import mean
from typing import Any

import optuna
import pytest

from optimizers import FAMILIES
from tests.conftest import study_spec
from tests.paper import accuracy
from tuner.packing import Packing
from tuner.search import DUPLICATE, Search, frozen_trials
from tuner.spec import StudySpec, contains
from tuner.store import Row
from tuner.trial import Epoch, Failure, Outcome, Params, State

CONDITIONAL = {
    "width": {"int": [4, 24]},
    "optimizer": ["sgd", "momentum"],
    "momentum": {"float": [0.5, 0.99]},
    "learning_rate": {"float": [1e-3, 1e-1], "log": True},
}
METHODS = {"optimizer": ["sgd", "adam", "muon"], "learning_rate": {"float": [1e-3, 1e-1], "log": True}}
SAMPLERS = ["tpe", "random", "qmc", "cmaes"]


def row(number: int, state: State, params: Params | None, value: float | None = None, attrs: Any = None, epoch: int = 0) -> Row:
    failure = Failure.ERROR if state is State.FAILED else None
    return Row(
        number, state, 1, "w", 1, 0, params, attrs or {}, epoch, 10, value, failure, "", None, 0.0, 1.0 if state.ended else None
    )


class World:
    """Trains by formula and keeps what a store would keep."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.rows: dict[int, Row] = {}
        self.epochs: dict[int, list[Epoch]] = {}

    def train(self, search: Search, numbers: Iterable[int]) -> None:
        for number in numbers:
            proposal = search.ask(number)
            self.epochs[number] = []
            outcome = self.outcome(search, number, proposal.params)
            search.tell(number, outcome)
            last = len(self.epochs[number])
            self.rows[number] = row(number, outcome.state, proposal.params, outcome.value, search.attrs(number), last)

    def weights(self, params: Params) -> int:
        del params  # all networks are of one size here
        return 10

    def outcome(self, search: Search, number: int, params: Params) -> Outcome:
        for index in range(1, self.spec.train.epochs + 1):
            value = self.value(params, index)
            epoch = Epoch(number, index, {"val_accuracy": value, "val_loss": 1 - value}, 0.1, self.weights(params))
            self.epochs[number].append(epoch)
            if search.hopeless(epoch):
                return Outcome(State.PRUNED, search.best_value(number))
        return Outcome(State.COMPLETE, search.best_value(number))

    def value(self, params: Params, epoch: int) -> float:
        return accuracy(params, epoch)

    def replica(self) -> Search:
        search = Search(self.spec)
        search.sync(self.rows.values(), self.epochs)
        return search


class WithoutMomentum(World):
    """Where momentum comes to nothing."""

    def value(self, params: Params, epoch: int) -> float:
        return super().value(params, epoch) if params["optimizer"] == "sgd" else 0.0


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "cmaes"])
def test_a_restarted_search_goes_on_as_if_nothing_had_happened(sampler: str) -> None:
    spec = study_spec(sampler=sampler, search=CONDITIONAL, pruner="asha", train={"epochs": 9}, budget=40)
    straight, broken = World(spec), World(spec)
    straight.train(Search(spec), range(30))
    broken.train(Search(spec), range(12))
    broken.train(broken.replica(), range(12, 30))
    assert broken.rows == straight.rows


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_are_of_the_space(sampler: str) -> None:
    spec = study_spec(sampler=sampler, search=CONDITIONAL, budget=40)
    world, search = World(spec), Search(spec)
    world.train(search, range(25))
    for found in world.rows.values():
        assert found.params is not None
        assert ("momentum" in found.params) == (found.params["optimizer"] == "momentum")
        for name, value in found.params.items():
            assert contains(spec.search[name], value)
            assert type(value) in (int, float, str)


def test_random_proposals_cover_the_space_evenly() -> None:
    spec = study_spec(sampler="random", search=CONDITIONAL)
    search = Search(spec)
    drawn = [search.ask(number).params for number in range(600)]
    optimizers = Counter(params["optimizer"] for params in drawn)
    assert abs(optimizers["sgd"] - 300) < 4 * math.sqrt(150)
    low = sum(float(params["learning_rate"]) < 1e-2 for params in drawn)
    assert abs(low - 300) < 4 * math.sqrt(150)


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_a_proposal_beside_a_trial_may_train_in_one_pack_with_it(sampler: str) -> None:
    search_space = {"depth": {"int": [1, 3]}, "width": {"int": [16, 256], "log": True}, "batch_size": [16, 32], **METHODS}
    spec = study_spec(sampler=sampler, search=search_space)
    world, search = World(spec), Search(spec)
    world.train(search, range(25))
    packing = Packing(search.space)
    for number in range(25, 65):
        beside = search.params(number % 25)
        assert packing.form(search.ask(number, beside).params) == packing.form(beside)


RANKED: dict[str, Any] = {"search": CONDITIONAL, "rank": "optimizer", "final": {}, "budget": 42, "train": {"epochs": 9}}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_values_that_are_ranked_have_equal_shares(sampler: str) -> None:
    spec = study_spec(sampler=sampler, enqueue=[{"width": 5}, {"optimizer": "sgd"}, {"optimizer": "sgd"}], **RANKED)
    search = Search(spec)
    proposed = [search.ask(number, {"width": 8, "optimizer": "sgd", "learning_rate": 0.1}).params for number in range(42)]
    assert [params["optimizer"] for params in proposed[1:3]] == ["sgd", "sgd"]
    assert proposed[0]["width"] == 5
    assert abs(Counter(params["optimizer"] for params in proposed)["sgd"] - 21) <= 1


def test_a_value_that_is_ranked_is_searched_and_pruned_as_if_there_were_no_other() -> None:
    spec = study_spec(sampler={"name": "tpe", "startup": 4}, pruner="asha", **RANKED)
    one, other = World(spec), WithoutMomentum(spec)
    for world in (one, other):
        world.train(Search(spec), range(42))
    sgd = {number: found for number, found in one.rows.items() if found.params and found.params["optimizer"] == "sgd"}
    assert {found.state for found in sgd.values()} == {State.COMPLETE, State.PRUNED}
    assert sgd == {number: other.rows[number] for number in sgd}


@pytest.mark.parametrize("rank", [None, "optimizer"])
def test_the_generations_of_nsga_ii_are_the_same_after_a_restart_and_of_one_ranked_value_each(rank: str | None) -> None:
    spec = study_spec(sampler={"name": "nsga2", "startup": 4}, **{**RANKED, "rank": rank, "budget": 60})
    straight, broken = World(spec), World(spec)
    straight.train(Search(spec), range(60))
    for first in range(0, 60, 7):
        broken.train(broken.replica(), range(first, min(60, first + 7)))
    assert broken.rows == straight.rows
    assert {key for found in straight.rows.values() for key in found.attrs} == {"NSGAIISampler:generation"}


def test_cma_es_learns_what_the_trials_of_a_pack_have_in_common() -> None:
    search_space = {"depth": {"int": [1, 9]}, "momentum": {"float": [0.5, 0.99]}, "optimizer": "momentum"}
    spec = study_spec(sampler="cmaes", search=search_space, budget=200)
    search, depths = Search(spec), []
    for number in range(200):
        params = search.ask(number, search.params(number // 4 * 4) if number % 4 else None).params
        search.tell(number, Outcome(State.COMPLETE, -abs(float(params["depth"]) - 3)))
        depths.append(params["depth"])
    assert mean(abs(int(depth) - 3) for depth in depths[160::4]) < 0.5


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_two_workers_that_share_rows_decide_like_one(pruner: str) -> None:
    spec = study_spec(sampler="tpe", search=CONDITIONAL, pruner=pruner, train={"epochs": 9}, budget=60)
    alone, shared = World(spec), World(spec)
    alone.train(Search(spec), range(40))
    workers = [Search(spec), Search(spec)]
    for number in range(40):
        worker = workers[number % 2]
        worker.sync(shared.rows.values(), shared.epochs)
        shared.train(worker, [number])
    assert shared.rows == alone.rows
    assert any(found.state is State.PRUNED for found in alone.rows.values())


def test_tpe_learns_as_well_behind_our_door_as_in_optunas_own_loop() -> None:
    def objective(trial: optuna.Trial) -> float:
        params: dict[str, Any] = {"width": trial.suggest_int("width", 4, 24)}
        params["optimizer"] = trial.suggest_categorical("optimizer", ["sgd", "momentum"])
        if params["optimizer"] == "momentum":
            trial.suggest_float("momentum", 0.5, 0.99)
        params["learning_rate"] = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
        return accuracy(params, 3)

    ours, theirs = [], []
    for seed in range(6):
        world = World(study_spec(sampler="tpe", search=CONDITIONAL, budget=60, seed=seed))
        world.train(Search(world.spec), range(60))
        ours.append(mean(world.rows[number].value or 0.0 for number in range(40, 60)))
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(objective, n_trials=60)
        theirs.append(mean(trial.value or 0.0 for trial in study.trials[40:]))
    assert mean(ours) > mean(theirs) - 0.03
    assert mean(ours) > 0.8


def test_every_optimizer_is_tried_before_the_sampler_learns() -> None:
    spec = study_spec(sampler="tpe", search={"optimizer": "all"}, budget=60)
    search, startup = Search(spec), spec.sampler.startup
    world = World(spec)
    world.train(search, range(2 * startup))
    tried = [(found.params or {})["optimizer"] for found in world.rows.values()]
    assert sorted(map(str, tried[:startup])) == sorted(FAMILIES["all"])
    assert set(tried[startup:]) != set(FAMILIES["all"])


def test_enqueued_configurations_come_first_and_are_completed() -> None:
    enqueue = [{"width": 5, "optimizer": "momentum"}, {"width": 5, "optimizer": "momentum"}]
    search = Search(study_spec(search=CONDITIONAL, enqueue=enqueue))
    for number in (0, 1):
        params = search.ask(number).params
        assert (params["width"], params["optimizer"]) == (5, "momentum")
        assert set(params) == {"width", "optimizer", "momentum", "learning_rate"}


def test_an_enqueued_parameter_is_that_of_all_layers_unless_one_has_its_own() -> None:
    space = {"depth": {"int": [1, 3]}, "width": {"int": [4, 99], "per_layer": True}}
    enqueue = [{"depth": 3, "width": 32}, {"depth": 2, "width_2": 8, "width": 16}, {"depth": 1, "width_1": 5}]
    search = Search(study_spec(search=space, enqueue=enqueue))
    assert [search.ask(number).params for number in range(3)] == [
        {"depth": 3, "width_1": 32, "width_2": 32, "width_3": 32},
        {"depth": 2, "width_1": 16, "width_2": 8},
        {"depth": 1, "width_1": 5},
    ]


def test_a_small_space_is_searched_without_repetition_until_it_is_used_up() -> None:
    spec = study_spec(search={"width": [4, 5, 6], "bias": [True, False]}, budget=8)
    world, search = World(spec), Search(spec)
    world.train(search, range(8))
    keys = [tuple(sorted((found.params or {}).items())) for found in world.rows.values()]
    assert len(set(keys[:6])) == 6
    assert [DUPLICATE in found.attrs for found in world.rows.values()] == [False] * 6 + [True] * 2
    assert keys[world.rows[7].attrs[DUPLICATE]] == keys[7]


def test_the_grid_is_every_configuration_once() -> None:
    search = {"depth": {"int": [1, 3]}, "width": {"choice": [4, 8], "per_layer": True}}
    spec = study_spec(sampler="grid", search=search, budget=14)
    drawn = [tuple(sorted(Search(spec).ask(number).params.items())) for number in range(14)]
    assert len(set(drawn)) == 14 == Search(spec).space.size
    assert drawn != sorted(drawn)


@pytest.mark.parametrize("sampler", ["grid", "random"])
@pytest.mark.parametrize("end", [0.3, 0.35])
@pytest.mark.filterwarnings("error")
def test_a_float_with_a_step_reaches_the_end_of_its_range_and_not_beyond(sampler: str, end: float) -> None:
    spec = study_spec(sampler=sampler, search={"dropout": {"float": [0.0, end], "step": 0.1}}, budget=4)
    world = World(spec)
    world.train(Search(spec), range(4))
    assert sorted((found.params or {})["dropout"] for found in world.rows.values()) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert all(contains(spec.search["dropout"], (found.params or {})["dropout"]) for found in world.rows.values())
    assert len(frozen_trials(spec, world.rows.values(), world.epochs)) == 4


def test_trials_may_be_asked_out_of_order_and_keep_their_numbers() -> None:
    spec = study_spec(search=CONDITIONAL)
    forward, backward = Search(spec), Search(spec)
    ahead = {number: forward.ask(number).params for number in range(6)}
    assert {number: backward.ask(number).params for number in reversed(range(6))} == ahead


def test_an_outcome_without_a_value_can_be_told() -> None:
    search = Search(study_spec(search=CONDITIONAL))
    search.ask(0)
    search.tell(0, Outcome(State.FAILED, failure=Failure.NON_FINITE))
    assert search.best_value(0) is None
    assert search.lowest_open == 1


def test_the_last_epoch_is_never_hopeless() -> None:
    spec = study_spec(search=CONDITIONAL, pruner={"name": "median", "from_epoch": 1}, train={"epochs": 2}, budget=20)
    world = World(spec)
    world.train(Search(spec), range(20))
    assert all(found.state is State.COMPLETE or found.epoch < 2 for found in world.rows.values())


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_no_trial_is_given_up_before_the_first_rung(pruner: str) -> None:
    spec = study_spec(search=CONDITIONAL, pruner={"name": pruner, "from_epoch": 4}, train={"epochs": 9}, budget=40)
    world = World(spec)
    world.train(Search(spec), range(40))
    assert min(found.epoch for found in world.rows.values()) == 4


def test_rows_become_optuna_trials() -> None:
    spec = study_spec(sampler="random", search=CONDITIONAL, pruner="asha", train={"epochs": 9}, budget=40)
    world = World(spec)
    world.train(Search(spec), range(20))
    world.rows[20] = row(20, State.FAILED, {"width": 4, "optimizer": "sgd", "learning_rate": 0.1})
    world.rows[21] = row(21, State.QUEUED, None)
    trials = frozen_trials(spec, world.rows.values(), world.epochs)
    assert [trial.number for trial in trials] == list(range(21))
    for trial in trials[:20]:
        found = world.rows[trial.number]
        assert trial.params == found.params
        assert trial.value == found.value
        assert len(trial.intermediate_values) == found.epoch
    assert trials[20].state.name == "FAIL"
