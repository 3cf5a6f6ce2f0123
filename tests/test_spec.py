"""What a study file may say, and the one line that a mistake gets."""

import json
from pathlib import Path
from typing import Any

import pytest

from optimizers import FAMILIES, OPTIMIZERS
from tests.conftest import study_spec
from tuner import spec as specs
from tuner.errors import BadInput
from tuner.spec.aims import Frozen
from tuner.spec.parameters import values

GOOD = """
data = "digits"
objective = "val_accuracy"
budget = 60

[train]
epochs = 20

[search]
depth = {int = [1, 4]}
learning_rate = {float = [1e-4, 1e-1], log = true}
optimizer = ["sgd", "momentum"]
momentum = {float = [0.5, 0.99], when = {optimizer = "momentum"}}
bias = false
"""


def written(folder: Path, text: str | bytes, name: str = "x.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_becomes_a_frozen_spec_with_all_defaults(tmp_path: Path) -> None:
    spec = specs.load(written(tmp_path, GOOD))
    assert (spec.name, spec.model.name, spec.data.source, spec.budget.trials) == ("x", "mlp", "digits", 60)
    assert (spec.objective.direction, spec.pruner.name, spec.sampler.name) == ("maximise", "asha", "tpe")
    assert specs.values(spec.search["learning_rate"]) == (1e-4, 1e-1)
    assert spec.search["momentum"].when == {"optimizer": ("momentum",)}
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "y"  # type: ignore[misc]


def test_pruning_is_off_where_there_is_no_time_for_it() -> None:
    short = specs.parse({"name": "a", "train": {"epochs": 4}, "search": {"depth": [1, 2]}})
    assert (short.pruner.name, short.objective.metric, short.objective.direction) == ("none", "val_loss", "minimise")
    asked = specs.parse({"name": "a", "pruner": "median", "train": {"epochs": 3}, "search": {"depth": [1, 2]}})
    assert (asked.pruner.name, asked.pruner.from_epoch) == ("median", 1)


@pytest.mark.parametrize(
    ("given", "finalists"),
    [({"budget": 19}, 0), ({"budget": 30}, 3), ({}, 5), ({"budget": {"trials": 900}}, 5), ({"final": 2}, 2)],
)
def test_a_race_costs_at_most_half_of_the_search_unless_it_is_asked_for(given: dict[str, Any], finalists: int) -> None:
    spec = specs.parse({"name": "a", "search": {"depth": [1, 2]}, **given})
    assert (spec.final.finalists, spec.final.seeds, spec.final.refit) == (finalists, 5, False)
    assert spec.final.finalists * spec.final.seeds <= spec.budget.trials / 2


def test_what_is_ranked_has_a_finalist_for_each_of_its_values() -> None:
    study = {"name": "a", "rank": "optimizer", "search": {"optimizer": ["adaptive", "muon"]}, "budget": 20}
    spec = specs.parse(study)
    assert (spec.final.finalists, spec.sampler.startup) == (5, 10)
    assert specs.restore(spec.model_dump_json()) == spec


def test_the_identity_is_of_the_meaning_not_of_the_text(tmp_path: Path) -> None:
    spread = GOOD.replace('data = "digits"', "").replace("[train]", '[data]\nsource = "digits"\n[train]') + "# a remark\n"
    one = specs.load(written(tmp_path, GOOD))
    assert one.identity == specs.load(written(tmp_path, spread)).identity
    assert one.identity != specs.load(written(tmp_path, GOOD.replace("60", "61"))).identity
    assert specs.restore(one.model_dump_json()) == one


def test_what_was_accepted_once_can_be_read_when_the_rules_have_become_stricter() -> None:
    stored = json.loads(study_spec().model_dump_json()) | {"sampler": {"name": "grid", "startup": 10}}
    with pytest.raises(BadInput, match=r"sampler\.name: grid needs a step"):
        specs.parse(stored)
    assert specs.restore(json.dumps(stored)).sampler.name == "grid"


def test_further_objectives_and_constraints_are_part_of_a_study_only_where_it_has_any() -> None:
    assert not {"further", "constraints"} & {*study_spec().model_dump(), *study_spec().model_dump()["objective"]}
    assert study_spec().costs == ()
    several = study_spec(objective=["val_loss", "latency_ms"], constraints=["parameters<=9_000", "latency_ms <= 0.5"])
    assert several.objective.names == ("val_loss", "latency_ms")
    assert not several.objective.maximise
    assert [str(constraint) for constraint in several.constraints] == ["parameters <= 9000", "latency_ms <= 0.5"]
    assert several.costs == ("parameters", "latency_ms")
    assert specs.restore(several.model_dump_json()) == several
    assert several.identity != study_spec(objective="val_loss").identity


def test_the_data_option_replaces_the_source(tmp_path: Path) -> None:
    assert specs.load(written(tmp_path, GOOD), data="a/b").data.source == "a/b"


def search_of(search: dict[str, Any]) -> dict[str, Any]:
    return specs.parse({"name": "a", "search": search}).search


@pytest.mark.parametrize("words", ["lecture", ["lecture"], {"choice": ["lecture"]}, ["sgd", "lecture"], {"value": "lecture"}])
def test_a_family_stands_for_its_methods(words: Any) -> None:
    search = search_of({"optimizer": words})
    assert specs.values(search["optimizer"]) == FAMILIES["lecture"]


def test_each_method_brings_its_own_sub_space_unless_one_rate_is_named_for_all() -> None:
    search = search_of({"optimizer": ["sgd", "adam"], "adam": {"beta_1": [0.8, 0.9]}})
    assert set(search) == {"optimizer", "sgd.learning_rate", "adam.learning_rate", "adam.beta_1"}
    assert specs.values(search["adam.learning_rate"]) == (OPTIMIZERS["adam"].learning_rate[1:3])
    assert specs.values(search["adam.beta_1"]) == (0.8, 0.9)
    assert set(search_of({"optimizer": ["sgd", "adam"], "beta_1": 0.8})) == {
        "optimizer", "sgd.learning_rate", "adam.learning_rate", "beta_1"
    }  # fmt: skip
    shared = search_of({"optimizer": ["sgd", "adam"], "learning_rate": {"float": [0.1, 0.2]}})
    assert set(shared) == {"optimizer", "learning_rate"}
    assert set(search_of({"optimizer": "adam", "width": [1, 2]})) == {"optimizer", "width"}


def test_all_is_every_method_that_needs_a_gradient_only_and_each_is_tried() -> None:
    spec = specs.parse({"name": "a", "search": {"optimizer": "all"}})
    methods = specs.values(spec.search["optimizer"])
    assert methods == tuple(row.name for row in OPTIMIZERS.values() if row.gradient_only)
    assert all(f"{method}.learning_rate" in spec.search for method in methods)
    assert spec.sampler.startup == max(10, len(methods))
    assert specs.restore(spec.model_dump_json()) == spec


def test_an_enqueued_configuration_may_name_what_is_a_methods_own(tmp_path: Path) -> None:
    text = '[search]\noptimizer = ["sgd", "adam"]\n[[enqueue]]\noptimizer = "adam"\nadam.learning_rate = 0.001\n'
    assert specs.load(written(tmp_path, text)).enqueue == ({"optimizer": "adam", "adam.learning_rate": 0.001},)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"serach": {}}, "serach: unknown key; did you mean 'search'?"),
    ({"train": {"epoch": 3}}, "train.epoch: unknown key; did you mean 'epochs'?"),
    ({"train": {"epochs": "ten"}}, "train.epochs: input should be a valid integer, not 'ten'"),
    ({"train": {"epochs": True}}, "train.epochs: input should be a valid integer, not True"),
    ({"train": {"lanes": "many"}}, "train.lanes: input should be a valid integer or 'auto' or 'off', not 'many'"),
    (
        {"search": {"optimizer": [["adam"], "sgd"]}},
        "search.optimizer.choice.0: input should be a valid integer or a valid number or a valid string or a valid boolean, "
        "not ['adam']",
    ),
    ({"budget": 0}, "budget.trials: input should be greater than or equal to 1, not 0"),
    ({"budget": -1}, "budget.trials: input should be greater than or equal to 1, not -1"),
    ({"budget": 10**9}, "budget.trials: input should be less than or equal to 10000, not 1000000000"),
    ({"budget": float("inf")}, "budget.trials: input should be a valid integer, not inf"),
    ({"budget": {"trials": 5, "hours": 0}}, "budget.hours: input should be greater than 0, not 0"),
    ({"final": {"seeds": 2}}, "final.seeds: input should be greater than or equal to 3, not 2"),
    ({"final": -1}, "final.finalists: input should be greater than or equal to 0, not -1"),
    ({"rank": "width"}, "rank: width is not a list of choices that every trial has one of; allowed: optimizer"),
    ({"rank": "size"}, "rank: size is not in [search]; allowed: optimizer"),
    ({"rank": "optimizer"}, "final.finalists: with rank there is one for each of the 2 values of optimizer; remove it"),
    ({"rank": "optimizer", "final": {}, "budget": 1}, "budget.trials: 1 are fewer than the 2 values of optimizer"),
    (
        {"rank": "optimizer", "final": {}, "objective": ["val_accuracy", "parameters"]},
        "objective: with rank allowed is one; remove parameters, or rank",
    ),
    (
        {"rank": "optimizer", "final": {}, "pruner": "hyperband"},
        "pruner.name: with rank allowed are asha, median, none: the brackets of hyperband are for all trials",
    ),
    (
        {"rank": "optimizer", "final": {}, "sampler": "grid", "search": {"optimizer": ["sgd", "adam"], "learning_rate": 0.1}},
        "sampler.name: with rank allowed are all but grid, whose points come as they are",
    ),
    (
        {"enqueue": [{"width": 4}], "sampler": "grid", "search": {"width": [4, 8]}},
        "enqueue: the points of a grid come as they are; remove it, or write another sampler.name",
    ),
    ({"search": {}}, "search: nothing to search; name at least one parameter"),
    ({"search": {"widht": 3}}, "search.widht: mlp has no such parameter; did you mean 'width'?"),
    ({"search": {"optimizer": {"choice": [{"a": 1}]}}}, "search.optimizer.choice.0: input should be a valid integer or a"),
    ({"search": {"optimizer": "al"}}, "search.optimizer: 'al' is no optimizer; did you mean 'all'?"),
    ({"search": {"optimizer": ["adam", "lecure"]}}, "search.optimizer: 'lecure' is no optimizer; did you mean 'lecture'?"),
    ({"search": {"adam": {"beta_3": 0.3}}}, "search.adam.beta_3: adam has no such parameter; did you mean 'beta_2'?"),
    ({"search": {"adam": {"beta_1": 3.0}}}, "search.adam.beta_1: 3.0 is not a number in [0, 1)"),
    ({"search": {"sgd": {"learning_rate": 0.1}}}, "search.sgd.learning_rate: sgd is not a value of optimizer"),
    ({"search": {"cosine": {"floor": 0.1}}}, "search.cosine.floor: cosine is not a value of schedule"),
    ({"search": {"adm.beta_1": 0.1}}, "search.adm.beta_1: 'adm' is neither an optimizer nor a schedule; did you mean 'adam'?"),
    ({"search": {"schedule": "cosin"}}, "search.schedule: 'cosin' is no schedule; did you mean 'cosine'?"),
    (
        {"train": {"precision": "mixed_float16"}, "search": {"optimizer": ["adam", "sam:adam"]}},
        "train.precision: no loss is scaled for sam:adam; allowed: float32, mixed_bfloat16",
    ),
    (
        {"train": {"backprop": "explicit"}, "search": {"dropout": [0.0, 0.1]}},
        "search.dropout: explicit back-propagation has no formulas for it; remove it, or train.backprop",
    ),
    (
        {"model": "a:b", "train": {"backprop": "explicit"}, "search": {"depth": [1, 2]}},
        "train.backprop: explicit has no formulas for a:b; allowed with: mlp",
    ),
    (
        {"search": {"optimizer": "saga"}},
        "search.optimizer: saga is for models without hidden layers; allowed: mlp with depth = 0",
    ),
    (
        {"search": {"optimizer": ["sgd", "sag"], "depth": {"int": [0, 2]}}},
        "search.optimizer: sag is for models without hidden layers; allowed: mlp with depth = 0",
    ),
    (
        {"model": "a:b", "search": {"optimizer": "sag", "depth": 0}},
        "search.optimizer: sag is for models without hidden layers; allowed: mlp with depth = 0",
    ),
    (
        {"search": {"optimizer": "sag", "depth": 0, "flip": {"float": [0.0, 1.0]}}},
        "search.flip: sag remembers the slope of each row, which augmentation changes; remove one of them",
    ),
    (
        {"train": {"backprop": "explicit"}, "search": {"optimizer": "armijo"}},
        "train.backprop: armijo asks for more than a gradient; explicit is for the others",
    ),
    (
        {"train": {"backprop": "explicit", "precision": "mixed_bfloat16"}, "search": {"depth": [1, 2]}},
        "train.backprop: explicit computes in float32",
    ),
    ({"search": {"warmup": 2.0}}, "search.warmup: 2.0 is not a number in [0, 1]"),
    ({"search": {"width": {"int": [8, 4]}}}, "search.width: the range is upside down: 8 > 4"),
    (
        {"search": {"learning_rate": {"float": [0.1, 0.2], "step": 1e-300}}},
        "search.learning_rate: step 1e-300 is finer than numbers are; remove it",
    ),
    ({"search": {"width": {"int": [8, 8]}}}, "search.width: the range is a single value; write `= 8`"),
    ({"search": {"width": {"int": [8]}}}, "search.width.int.1: is missing"),
    ({"search": {"width": {"int": [8, 16], "setp": 2}}}, "search.width.setp: unknown key; did you mean 'step'?"),
    ({"search": {"width": {"int": [8, 16], "step": 0}}}, "search.width.step: input should be greater than or equal to 1, not 0"),
    ({"search": {"width": {"int": [8.5, 16]}}}, "search.width.int.0: input should be a valid integer, not 8.5"),
    ({"search": {"width": {"range": [8, 16]}}}, "search.width: write {int = [low, high]}, {float = [low, high]}, a list of"),
    ({"search": {"width": {"int": [0, 16]}}}, "search.width: 0 is not a whole number from 1 to 100000"),
    ({"search": {"width": {"int": [16, 10**8]}}}, "search.width: 100000000 is not a whole number from 1 to 100000"),
    ({"search": {"width": []}}, "search.width.choice: has 0 entries; allowed are at least 1"),
    ({"search": {"width": [1, "a"]}}, "search.width: choices must be of one kind, these mix number and str"),
    ({"search": {"width": [1, 1]}}, "search.width: a choice stands here twice"),
    ({"search": {"width": list(range(1, 2000))}}, "search.width.choice: has 1999 entries; allowed are at most 1000"),
    ({"search": {"activation": ["relu", "rleu"]}}, "search.activation: 'rleu' is not one of relu, leaky_relu"),
    ({"search": {"bias": ["no"]}}, "search.bias: 'no' is not one of true, false"),
    ({"search": {"optimizer": ["addam"]}}, "search.optimizer: 'addam' is no optimizer; did you mean 'adam'?"),
    ({"search": {"optimizer": ["sam:adm"]}}, "search.optimizer: 'sam:adm' is no optimizer; did you mean 'sam:adam'?"),
    ({"search": {"optimizer": ["zzz"]}}, "search.optimizer: 'zzz' is no optimizer; `tuner optimizers` lists them"),
    (
        {"search": {"optimizer": ["sam:armijo"]}},
        "search.optimizer: 'sam:armijo' is no optimizer; sam goes around a method that needs gradients only; armijo requires",
    ),
    ({"search": {"optimizer": "sam:adam", "radus": 0.1}}, "search.radus: mlp has no such parameter; did you mean 'radius'?"),
    ({"search": {"learning_rate": {"float": [0, 1], "log": True}}}, "search.learning_rate: log needs a lower end above 0, not 0"),
    ({"search": {"learning_rate": {"float": [-1, 1]}}}, "search.learning_rate: -1.0 is not a number above 0"),
    (
        {"search": {"learning_rate": {"float": [float("nan"), 1]}}},
        "search.learning_rate.float.0: input should be a finite number",
    ),
    ({"search": {"clipnorm": [0.0, 1.0]}}, "search.clipnorm: 0.0 is not a number in (0, inf]"),
    ({"search": {"beta_1": 1.0}}, "search.beta_1: 1.0 is not a number in [0, 1)"),
    ({"search": {"epsilon": 0}}, "search.epsilon: 0 is not a number in (0, inf)"),
    ({"search": {"momentum": 1.0, "optimizer": ["momentum", "muon"]}}, "search.momentum: 1.0 is not a number in [0, 1)"),
    ({"search": {"one_cycle": {"rise": 1}, "schedule": "one_cycle"}}, "search.one_cycle.rise: 1 is not a number in (0, 1)"),
    ({"search": {"clipnorm": 1.0, "clipvalue": 1.0}}, "search.clipvalue: adam clips in one way; remove clipnorm or clipvalue"),
    (
        {"search": {"optimizer": ["sgd", "adam"], "clipnorm": 1.0, "adam.global_clipnorm": 2.0}},
        "search.adam.global_clipnorm: adam clips in one way; remove clipnorm or adam.global_clipnorm",
    ),
    ({"search": {"optimizer": "momentum", "momentum": 1.5}}, "search.momentum: 1.5 is not a number in [0, 1]"),
    ({"search": {"batch_size": [0]}}, "search.batch_size: 0 is not a whole number of 1 or more"),
    ({"search": {"x y": 1}}, "search.x y"),
    ({"search": {"depth": 1, "width": {"int": [1, 2], "when": {"dpeth": 1}}}}, "search.width.when: no parameter 'dpeth' in"),
    ({"search": {"depth": [1, 2], "width": {"int": [1, 2], "when": {"depth": 3}}}}, "search.width.when.depth: 3 is not a value"),
    ({"search": {"depth": [1, 2], "width": {"int": [1, 2], "when": {"depth": []}}}}, "search.width.when.depth: names no value"),
    (
        {"search": {"depth": {"choice": [1, 2], "when": {"width": 3}}, "width": {"choice": [3, 4], "when": {"depth": 1}}}},
        "search.depth.when: these conditions wait for each other: depth, width",
    ),
    ({"model": "resnet", "search": {"depth": {"int": [8, 20]}}}, "search.depth.step: 1 is not a multiple of 6"),
    ({"model": "resnet", "search": {"depth": [8, 9]}}, "search.depth: 9 is not a whole number from 8 to 200 in steps of 6"),
    (
        {"model": "convnet", "search": {"padding": ["same", "full"]}},
        "search.padding: 'full' is not one of same, valid or a whole",
    ),
    ({"search": {"depth": {"int": [1, 3], "per_layer": True}}}, "search.depth.per_layer: only width may differ"),
    ({"objective": "val_acuracy"}, "objective.metric: no metric 'val_acuracy'; did you mean 'val_accuracy'?"),
    ({"objective": "loss"}, "objective.metric: search on validation data: val_loss, not loss"),
    ({"train": {"metrics": ["acc"]}}, "train.metrics: no metric 'acc'"),
    ({"model": "a:b:c"}, "model.name: 'a:b:c' names no function; write package.module:function"),
    ({"model": ":net"}, "model.name: ':net' names no function; write package.module:function"),
    ({"model": "nets.py:net-2"}, "model.name: 'nets.py:net-2' names no function; write package.module:function"),
    ({"model": "mpl"}, "model: no network 'mpl'; did you mean 'mlp'?"),
    ({"sampler": "bayes"}, "sampler.name: input should be 'tpe', 'nsga2', 'random', 'qmc', 'gp', 'cmaes' or 'grid', not 'bayes'"),
    ({"objective": []}, "objective.metric: input should be a valid string, not []"),
    (
        {"objective": ["val_accuracy", "val_loss"]},
        "objective.further.0: 'val_loss' is no cost; allowed: parameters, model_bytes, l",
    ),
    ({"objective": ["val_accuracy", "parameters", "parameters"]}, "objective.further: a cost stands here twice"),
    ({"constraints": "parameters <= 9"}, "constraints: input should be a valid tuple, not 'parameters <= 9'"),
    ({"constraints": ["val_loss <= 1"]}, "constraints.0: 'val_loss' is no cost; allowed: parameters, model_bytes, latency_ms"),
    ({"constraints": ["parameters < 9"]}, 'constraints.0: write "COST <= NUMBER"; costs are parameters, model_bytes, latency_ms'),
    ({"constraints": ["parameters <= 1e"]}, "constraints.0: '1e' is not a number"),
    ({"constraints": ["parameters <= -1"]}, "constraints.0: -1 is not a number above 0"),
    ({"constraints": ["parameters <= 9", "parameters <= 8"]}, "constraints: a cost has two bounds"),
    ({"constraints": ["parameters <= 9"], "sampler": "cmaes"}, "sampler.name: cmaes is for one objective without constraints; a"),
    (
        {"objective": ["val_loss", "parameters"], "pruner": "hyperband"},
        "pruner.name: hyperband is for one objective; allowed: asha, median, none",
    ),
    (
        {"search": {"optimizer": ["sgd", "adam"], "learning_rate": 0.1, "momentum": [0.5, 0.9]}},
        "search.momentum: not taken by sgd, adam; remove it, or add an optimizer that takes it",
    ),
    ({"search": {"momentum": [0.5, 0.9]}}, "search.momentum: not taken by adam; remove it"),
    ({"search": {"optimizer": "armijo", "batch_size": [8, 16]}}, "search.batch_size: not taken by armijo; remove it"),
    (
        {
            "search": {
                "optimizer": ["sgd", "momentum"],
                "learning_rate": 0.1,
                "momentum": {"value": 0.5, "when": {"optimizer": "sgd"}},
            }
        },
        "search.momentum.when.optimizer: not taken by sgd; allowed: momentum",
    ),
    ({"sampler": "grid"}, "sampler.name: grid needs a step or choices for learning_rate"),
    ({"pruner": {"name": "asha", "from_epoch": 9}}, "pruner.from_epoch: 9 lies behind the last of 3 epochs"),
    ({"data": {"validation": 0.6, "test": 0.5}}, "data: validation + test = 1.1 leaves nothing to train on"),
    ({"enqueue": [{"width": 3}]}, "enqueue[0].width: 3 is not a value of the search space"),
    (
        {"enqueue": [{"width_3": 4}], "search": {"depth": [1, 2], "width": {"int": [4, 8], "per_layer": True}}},
        "enqueue[0].width_3: not in [search]; did you mean 'width'?",
    ),
    (
        {"enqueue": [{"depth": 2.0}], "search": {"depth": [1, 2]}},
        "enqueue[0].depth: 2.0 is not a value of the search space",
    ),
    (
        {"enqueue": [{"width_2": 9}], "search": {"depth": [1, 2], "width": {"int": [4, 8], "per_layer": True}}},
        "enqueue[0].width_2: 9 is not a value of the search space",
    ),
    (
        {"search": {"depth": 2, "width": {"choice": [4, 8], "per_layer": True}, "dropout": {"value": 0.1, "when": {"width": 4}}}},
        "search.dropout.when.width: differs from layer to layer; allowed is what all layers",
    ),
    ({"enqueue": [{"wdith": 4}]}, "enqueue[0].wdith: not in [search]; did you mean 'width'?"),
    ({"enqueue": [{}] * 5}, "enqueue: 5 configurations, but budget.trials is 4"),
    ({"name": ""}, "name: string should have at least 1 character"),
    ({"name": "a\nb"}, "name: string should match pattern"),
    ({"name": "x" * 201}, "name: string should have at most 200 characters"),
    ({"seed": -1}, "seed: input should be greater than or equal to 0, not -1"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_a_mistake_gets_one_line_with_its_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        study_spec(**changes)
    message = str(refused.value)
    assert message.startswith(f"study: {said}")
    assert "\n" not in message


def test_a_method_has_every_number_that_it_takes_whatever_a_search_would_try_by_itself() -> None:
    own = {"prox_l1": 2.0, "initial_accumulator_value": 3.0, "weight_decay": 0}
    search = {"optimizer": "proximal_adagrad", "proximal_adagrad": own}
    assert values(study_spec(search=search).search["proximal_adagrad.prox_l1"]) == (2.0,)


def test_a_file_may_begin_with_the_mark_of_windows_editors(tmp_path: Path) -> None:
    assert specs.load(written(tmp_path, b"\xef\xbb\xbfseed = 7\n[search]\nwidth = [8, 16]\n")).seed == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = [" + "[" * 3000, "nested too deeply"),
        ("a = " + "1" * 5000, "not valid TOML: "),
        ("a = 1\na = 2", "not valid TOML: Cannot overwrite a value (at end of document)"),
        ("a = 1 b", "not valid TOML: Expected newline or end of document after a statement (at line 1"),
        (b"\xff\xfe" + "a = 1".encode("utf-16-le"), "not UTF-8 text (byte 0)"),
        (b"a = 1\x00", "not valid TOML: "),
        ("#" * 300_000, "larger than 256 KiB"),
        ("name: yaml", "not valid TOML: "),
    ],
)
def test_a_file_that_is_no_study_gets_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadInput) as refused:
        specs.load(path)
    assert str(refused.value).startswith(f"{path}: {said}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_an_unreadable_file_says_why(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be read: (No such file|Is a directory)"):
        specs.load(tmp_path / name)


def test_metrics_must_fit_the_task() -> None:
    with pytest.raises(BadInput, match="accuracy is for classification, and this is regression; allowed: loss, mae"):
        specs.check_task(study_spec(), "regression")
    specs.check_task(study_spec(objective="val_loss"), "regression")


def test_a_user_function_takes_any_parameter() -> None:
    spec = study_spec(model="my.nets:build", search={"anything": [1, 2], "learning_rate": 0.1})
    assert spec.model.is_code


def test_every_entry_is_frozen_and_closed() -> None:
    for name in dir(specs):
        model = getattr(specs, name)
        if isinstance(model, type) and issubclass(model, Frozen):
            assert model.model_config["frozen"]
            assert model.model_config["extra"] == "forbid"
