"""The search space: conditions, sizes, signatures. Pure."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import AUGMENTATION, NETWORKS
from tests.conftest import study_spec
from tuner.dimension import Dimension
from tuner.errors import BadInput
from tuner.family import Family, check
from tuner.space import Scheduled, Space
from tuner.spec import contains, values

LAYERED = {
    "width": {"int": [4, 6], "per_layer": True},
    "depth": {"int": [1, 3]},
    "optimizer": ["sgd", "momentum", "adam"],
    "learning_rate": 0.1,
    "momentum": [0.5, 0.9],
    "dropout": {"choice": [0.0, 0.1], "when": {"depth": [2, 3]}},
    "bias": False,
}


def space(search: dict[str, Any], **changes: Any) -> Space:
    return Space(study_spec(search=search, **changes))


def test_parents_come_first_and_layers_unfold() -> None:
    dimensions = space(LAYERED).dimensions
    names = [d.name for d in dimensions]
    assert sorted(names) == [
        "bias",
        "depth",
        "dropout",
        "learning_rate",
        "momentum",
        "optimizer",
        "width_1",
        "width_2",
        "width_3",
    ]
    assert names.index("depth") < names.index("width_1")
    assert {d.name: dict(d.when) for d in dimensions if d.when} == {
        "width_1": {"depth": (1, 2, 3)},
        "width_2": {"depth": (2, 3)},
        "width_3": {"depth": (3,)},
        "momentum": {"optimizer": ("momentum",)},
        "dropout": {"depth": (2, 3)},
    }


def test_a_condition_holds_beside_what_the_structure_asks_for() -> None:
    only_deep = {"depth": {"int": [0, 3]}, "width": {"int": [4, 6], "per_layer": True, "when": {"depth": [2, 3]}}}
    assert {d.name: d.when["depth"] for d in space(only_deep).dimensions if d.when} == {
        "width_1": (2, 3),
        "width_2": (2, 3),
        "width_3": (3,),
    }
    same = {**only_deep, "width": {"int": [4, 6], "when": {"depth": [0, 3]}}}
    assert {d.name: d.when["depth"] for d in space(same).dimensions if d.when} == {"width": (3,)}
    momentum = {"value": 0.9, "when": {"optimizer": ["sgd", "nesterov"]}}
    some = {"optimizer": ["sgd", "momentum", "nesterov"], "learning_rate": 0.1, "momentum": momentum}
    assert {d.name: d.when["optimizer"] for d in space(some).dimensions if d.when} == {"momentum": ("nesterov",)}


def enumerated(dimensions: tuple[Dimension, ...], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every configuration, one after the other."""
    if not dimensions:
        yield params
    elif not dimensions[0].exists(params):
        yield from enumerated(dimensions[1:], params)
    else:
        for value in dimensions[0].grid or ():
            yield from enumerated(dimensions[1:], {**params, dimensions[0].name: value})


def test_the_size_counts_what_can_be_enumerated() -> None:
    layered = space(LAYERED)
    configurations = list(enumerated(layered.dimensions, {}))
    assert layered.size == len(configurations) == (3 + 9 * 2 + 27 * 2) * 4
    assert len({tuple(sorted(c.items())) for c in configurations}) == len(configurations)
    assert layered.nth(7) == configurations[7]
    assert [layered.nth(index) for index in range(len(configurations))] == configurations
    assert {d for c in configurations for d in c} == {d.name for d in layered.dimensions}


def test_a_continuous_dimension_makes_the_space_infinite() -> None:
    assert space({"depth": [1, 2], "learning_rate": {"float": [0.1, 1.0]}}).size == math.inf
    assert space({"learning_rate": {"float": [0.1, 1.0], "step": 0.3}}).size == 4
    assert space({"dropout": {"float": [0.0, 0.3], "step": 0.1}}).dimensions[0].grid == (0.0, 0.1, 0.2, 0.3)
    assert space({"width": {"int": [4, 9], "step": 2}}).size == 3


def test_what_no_step_reaches_is_not_of_the_space() -> None:
    stepped = space({"depth": {"int": [1, 4], "step": 2}, "width": {"int": [4, 8], "per_layer": True}})
    assert [d.name for d in stepped.dimensions] == ["depth", "width_1", "width_2", "width_3"]
    check(family(space({"batch_size": {"int": [16, 100], "step": 50}}), rows=70))


def test_a_space_of_fine_steps_is_counted_without_listing_them() -> None:
    assert space({"learning_rate": {"float": [0.0001, 1.0001], "step": 1e-12}}).size == pytest.approx(1e12)


@given(st.randoms(use_true_random=False))
def test_every_choice_is_of_the_space_and_no_parameter_exists_without_its_parent(random: Any) -> None:
    layered = space(LAYERED)

    def suggest(dimension: Dimension) -> Any:
        return random.choice(list(dimension.grid or ()))

    params = layered.choose(suggest)
    for dimension in layered.dimensions:
        assert (dimension.name in params) == dimension.exists(params)
        if dimension.name in params:
            assert contains(dimension.parameter, params[dimension.name])


def test_the_signature_holds_what_shapes_the_graph_and_nothing_else() -> None:
    search = {
        "width": {"int": [4, 6]},
        "dropout": {"float": [0.0, 0.5]},
        "l2": {"float": [0.0, 0.5]},
        "learning_rate": {"float": [0.1, 1.0]},
        "optimizer": ["momentum", "adam"],
        "momentum": {"float": [0.5, 0.9]},
        "batch_size": [8, 16],
    }
    made = space(search)
    assert made.tensors == {"dropout", "l2"}
    base = {
        "width": 4,
        "dropout": 0.1,
        "l2": 0.1,
        "learning_rate": 0.1,
        "optimizer": "momentum",
        "momentum": 0.5,
        "batch_size": 8,
    }
    for same in ({"dropout": 0.0}, {"l2": 0.0}, {"learning_rate": 1.0}, {"momentum": 0.9}):
        assert made.signature({**base, **same}) == made.signature(base)
    without = {name: value for name, value in base.items() if name != "momentum"}
    for other in ({**base, "width": 5}, {**base, "batch_size": 16}, {**without, "optimizer": "adam"}):
        assert made.signature(other) != made.signature(base)


def test_a_method_has_the_parameters_that_mean_something_to_it() -> None:
    search = {
        "optimizer": ["adam", "sam:adam", "svrg:sgd", "armijo"],
        "learning_rate": {"float": [1e-3, 1.0]},
        **{name: [0.1, 0.2] for name in ("beta_1", "radius", "coefficient", "backtrack", "weight_decay")},
        "batch_size": [8, 10_000],
    }
    made = space(search)
    assert {d.name: d.when["optimizer"] for d in made.dimensions if d.when} == {
        "beta_1": ("adam", "sam:adam"),
        "radius": ("sam:adam",),
        "coefficient": ("svrg:sgd",),
        "backtrack": ("armijo",),
        "weight_decay": ("adam", "sam:adam", "svrg:sgd"),
        "batch_size": ("adam", "sam:adam", "svrg:sgd"),
    }
    sam = made.configuration({"optimizer": "sam:adam", "beta_1": 0.2, "radius": 0.1, "batch_size": 8})
    assert (sam.optimizer, sam.learning_rate, sam.hyper, sam.batch_size) == ("sam:adam", 1e-3, {"beta_1": 0.2, "radius": 0.1}, 8)
    assert made.configuration({"optimizer": "armijo", "backtrack": 0.2}).batch_size is None


def test_a_users_function_is_not_given_what_another_optimizer_takes() -> None:
    search = {"optimizer": ["sgd", "momentum"], "learning_rate": 0.1, "momentum": {"float": [0.5, 0.9]}, "units": [4, 8]}
    assert {d.name: dict(d.when) for d in space(search, model="my.nets:build").dimensions if d.when} == {
        "momentum": {"optimizer": ("momentum",)}
    }


def test_a_full_batch_method_is_one_of_all_rows() -> None:
    small = space({"width": {"int": [4, 6]}, "optimizer": "armijo"})
    check(family(small, rows=50))  # fewer than a batch has by default
    with pytest.raises(BadInput, match="GiB"):
        check(family(small, rows=10**9))
    params = {"width": 4, "optimizer": "armijo"}
    assert small.signature({**params, "batch_size": 8}) == small.signature(params)


def test_a_configuration_fills_every_default() -> None:
    made = space({"width": 8}).configuration({"width": 8})
    assert (made.optimizer, made.learning_rate, made.batch_size, made.hyper) == ("adam", 1e-3, 64, {})
    assert made.network == {
        "depth": 2,
        "width": 8,
        "activation": "relu",
        "initial": "auto",
        "bias": True,
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
        **dict.fromkeys(AUGMENTATION, 0.0),
    }


def test_what_is_a_methods_own_exists_with_the_method_and_reaches_it() -> None:
    made = space({"optimizer": ["adam", "momentum"], "weight_decay": 0.1, "cosine.floor": 0.1, "schedule": ["cosine", "step"]})
    owned = {d.name: dict(d.when) for d in made.dimensions if "." in d.name}
    assert owned == {
        "adam.learning_rate": {"optimizer": ("adam",)},
        "adam.beta_1": {"optimizer": ("adam",)},
        "momentum.learning_rate": {"optimizer": ("momentum",)},
        "momentum.momentum": {"optimizer": ("momentum",)},
        "cosine.floor": {"schedule": ("cosine",)},
    }
    params = {"optimizer": "adam", "adam.learning_rate": 0.5, "adam.beta_1": 0.7, "weight_decay": 0.1, "schedule": "step"}
    configuration = made.configuration(params)
    assert (configuration.learning_rate, configuration.hyper) == (0.5, {"beta_1": 0.7, "weight_decay": 0.1})
    assert configuration.schedule == Scheduled(
        "step",
        0.0,
        {"inverse_time.gamma": 100.0, "step.drop": 0.1, "step.every": 0.3, "cosine.floor": 0.0, "one_cycle.rise": 0.3},
    )
    assert made.signature(params) == made.signature({**params, "schedule": "cosine", "cosine.floor": 0.1})
    assert set(configuration.network) == set(NETWORKS["mlp"].parameters)
    assert space({"width": 8}).configuration({"width": 8}).schedule is None


def family(made: Space, shape: tuple[int, ...] = (8, 8, 1), rows: int = 900) -> Family:
    return Family(made, shape, 10, rows)


def test_network_sizes_follow_the_formula() -> None:
    made = family(space({"width": {"int": [4, 128]}, "depth": {"int": [0, 2]}}))
    assert made.smallest is not None
    assert made.largest is not None
    assert made.smallest.parameters == 65 * 10
    assert made.largest.parameters == 65 * 128 + 129 * 128 + 129 * 10


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"batch_size": [8, 1000]}, "search.batch_size: 1000 is more than the 900 training rows"),
        ({"width": {"int": [4, 100_000]}, "depth": {"int": [1, 900]}}, "search: the largest network has 8,990,"),
    ],
)
def test_what_can_never_train_is_refused(search: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        check(family(space(search)))
    assert str(refused.value).startswith(said)


def test_a_default_that_the_file_does_not_name_is_called_so() -> None:
    with pytest.raises(BadInput, match=r"search\.batch_size: 64, the default, is more than the 36 training rows"):
        check(family(space({"width": [4, 8]}), rows=36))


def test_only_images_are_augmented() -> None:
    augmented = space({"shift": {"float": [0.0, 0.2]}})
    check(family(augmented))
    with pytest.raises(
        BadInput, match=r"^search\.shift: only images can be augmented, and these rows are of 13 numbers; remove it$"
    ):
        check(family(augmented, (13,)))


def test_a_grid_too_large_to_search_is_refused() -> None:
    wide = {"width": {"int": [1, 100], "per_layer": True}, "depth": {"int": [1, 50]}}
    with pytest.raises(BadInput, match=r"sampler\.name: a grid of .* configurations; allowed are 1,000,000"):
        check(family(space(wide, sampler="grid")))


def test_the_ends_of_every_dimension_are_of_it() -> None:
    for dimension in space(LAYERED).dimensions:
        assert all(contains(dimension.parameter, value) for value in values(dimension.parameter))


CONVOLUTIONS = {
    "convolutions": {"int": [0, 2]},
    "filters": {"choice": [4, 8], "per_layer": True},
    "padding": ["same", "valid"],
    "dense": {"int": [0, 1]},
    "units": [16, 32],
}
CHAIN = {
    "depth": {"int": [1, 3]},
    "kind": {"choice": ["convolution", "linear"], "per_layer": True},
    "filters": {"choice": [4, 8], "per_layer": True},
    "units": {"choice": [16, 32], "per_layer": True},
    "normalisation": ["none", "batch"],
}


def test_what_a_layer_has_exists_with_the_layer() -> None:
    made = space(CONVOLUTIONS, model="convnet")
    assert {d.name: dict(d.when) for d in made.dimensions if d.parents} == {
        "filters_1": {"convolutions": (1, 2)},
        "filters_2": {"convolutions": (2,)},
        "padding": {"convolutions": (1, 2)},
        "units": {"dense": (1,)},
    }
    assert made.size == len(list(enumerated(made.dimensions, {}))) == (1 + 2 * 2 + 2 * 2 * 2) * (1 + 2)


def test_a_chain_is_convolutions_and_then_linear_layers() -> None:
    made = space(CHAIN, model="chain")
    configurations = list(enumerated(made.dimensions, {}))
    assert made.size == len(configurations)
    assert [made.nth(index) for index in range(len(configurations))] == configurations
    seen = set()
    for params in configurations:
        kinds = [params.get(f"kind_{layer}") for layer in range(1, params["depth"] + 1)]
        convolutions = next((i for i, kind in enumerate(kinds) if kind == "linear"), len(kinds))
        assert kinds[:convolutions] == ["convolution"] * convolutions
        assert kinds[convolutions + 1 :] == [None] * (len(kinds) - convolutions - 1)
        assert {name for name in params if name.startswith("filters")} == {f"filters_{i + 1}" for i in range(convolutions)}
        linear = range(convolutions, params["depth"])
        assert {name for name in params if name.startswith("units")} == {f"units_{i + 1}" for i in linear}
        assert ("normalisation" in params) == (convolutions > 0)
        seen.add((params["depth"], convolutions))
    assert seen == {(depth, n) for depth in (1, 2, 3) for n in range(depth + 1)}


def test_a_kind_for_all_layers_decides_what_they_have() -> None:
    made = space({**CHAIN, "kind": ["convolution", "linear"]}, model="chain")
    for params in enumerated(made.dimensions, {}):
        of = {"convolution": "filters", "linear": "units"}[params["kind"]]
        assert {name for name in params if name.startswith(("filters", "units"))} == {
            f"{of}_{layer}" for layer in range(1, params["depth"] + 1)
        }


@pytest.mark.parametrize(("model", "search"), [("convnet", CONVOLUTIONS), ("chain", CHAIN)])
def test_the_extremes_of_a_family_are_those_of_all_its_members(model: str, search: dict[str, Any]) -> None:
    search = {**search, "pooling": {"choice": ["none", "max"], "per_layer": True}, "stride": [1, 2, 3], "kernel": [2, 5]}
    made = space(search, model=model)
    found = family(made, (9, 9, 1))
    sizes = [found._size(params) for params in enumerated(made.dimensions, {})]
    weights = [size.parameters for size in sizes if size is not None]
    assert found.smallest is not None
    assert found.largest is not None
    assert (found.smallest.parameters, found.largest.parameters) == (min(weights), max(weights))
    assert len(weights) < len(sizes)
    assert found.impossible == ""


def test_an_impossible_shape_is_known_by_the_formula() -> None:
    made = space({"kernel": [3, 5]}, model="lenet")
    assert made.impossible({"kernel": 3}, (8, 8, 1), 10) == ""
    assert made.impossible({"kernel": 5}, (8, 8, 1), 10) == "convolution 2: 5×5 with padding 0 does not fit into 4×4"
    assert made.impossible({"kernel": 3}, (30,), 10) == "a convolution takes images; a row of the data has shape 30"
    assert space({"width": 4}, model={"name": "own:net"}).impossible({"width": 4}, (8, 8, 1), 10) == ""


def test_a_study_without_any_possible_network_is_refused() -> None:
    with pytest.raises(BadInput, match="none of these networks is possible on this data: convolution 2: 5×5"):
        check(family(space({"activation": ["relu", "tanh"]}, model="lenet")))


def test_conditions_are_told_in_words() -> None:
    told = {d.name: d.conditions(str) for d in space({**CHAIN, "depth": {"int": [1, 4]}}, model="chain").dimensions}
    assert told["filters_1"] == {"depth": "1 to 4", "kind_1": "convolution"}
    assert told["kind_3"] == {"depth": "3 or 4", "kind_2": "convolution"}
    assert told["units_2"] == {"depth": "2 to 4", "kind_1 or kind_2": "linear"}
    by_method = space(
        {"optimizer": ["momentum", "nesterov", "sgd", "rmsprop", "adam"], "learning_rate": 0.1, "momentum": [0.5, 0.9]}
    )
    assert {d.name: d.conditions(str) for d in by_method.dimensions}["momentum"]["optimizer"].startswith("momentum or nesterov")


@pytest.mark.parametrize(
    ("enqueued", "said"),
    [
        ({"momentum": 0.9, "optimizer": "sgd"}, "enqueue[1].momentum: is not there with optimizer = sgd; allowed: momentum"),
        ({"depth": 1, "width_2": 8}, "enqueue[1].width_2: is not there with depth = 1; allowed: 2 or 3"),
    ],
)
def test_an_enqueued_value_that_no_trial_could_have_is_refused(enqueued: dict[str, Any], said: str) -> None:
    search = {
        "optimizer": ["sgd", "momentum"], "learning_rate": 0.1, "momentum": {"float": [0.5, 0.9]},
        "depth": {"int": [1, 3]}, "width": {"int": [4, 8], "per_layer": True},
    }  # fmt: skip
    fine = {"depth": 1, "width": 8, "momentum": 0.9}  # the sampler is asked for an optimizer, which may not have it
    Space(study_spec(search=search, enqueue=[fine])).check()
    with pytest.raises(BadInput) as refused:
        Space(study_spec(search=search, enqueue=[fine, enqueued])).check()
    assert str(refused.value) == said
