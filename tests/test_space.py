"""The search space: conditions, sizes, signatures. Pure."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import AUGMENTATION, NETWORKS
from tests.conftest import study_spec
from tuner.errors import BadInput
from tuner.space import Dimension, Scheduled, Space, check
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
    assert space({"width": {"int": [4, 9], "step": 2}}).size == 3


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


def test_a_full_batch_method_is_one_of_all_rows() -> None:
    small = space({"width": {"int": [4, 6]}, "optimizer": "armijo"})
    check(small, (8, 8, 1), 10, 50)  # fewer than a batch has by default
    with pytest.raises(BadInput, match="GiB"):
        check(small, (8, 8, 1), 10, 10**9)
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


def test_network_sizes_follow_the_formula() -> None:
    made = space({"width": {"int": [4, 128]}, "depth": {"int": [0, 2]}})
    low, high = made.extremes()
    smallest, largest = (made.network_size(params, (8, 8, 1), 10, 1000) for params in (low, high))
    assert smallest is not None
    assert largest is not None
    assert smallest.parameters == 65 * 10
    assert largest.parameters == 65 * 128 + 129 * 128 + 129 * 10


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"batch_size": [8, 1000]}, "search.batch_size: 1000 is more than the 900 training rows"),
        ({"width": {"int": [4, 100_000]}, "depth": {"int": [1, 900]}}, "search: the largest network has 8,990,"),
    ],
)
def test_what_can_never_train_is_refused(search: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        check(space(search), (8, 8, 1), 10, rows=900)
    assert str(refused.value).startswith(said)


def test_only_images_are_augmented() -> None:
    augmented = space({"shift": {"float": [0.0, 0.2]}})
    check(augmented, (8, 8, 1), 10, rows=900)
    with pytest.raises(
        BadInput, match=r"^search\.shift: only images can be augmented, and these rows are of 13 numbers; remove it$"
    ):
        check(augmented, (13,), 10, rows=900)


def test_a_grid_too_large_to_search_is_refused() -> None:
    wide = {"width": {"int": [1, 100], "per_layer": True}, "depth": {"int": [1, 50]}}
    with pytest.raises(BadInput, match=r"sampler\.name: a grid of .* configurations; allowed are 1,000,000"):
        check(space(wide, sampler="grid"), (8, 8, 1), 10, rows=900)


def test_the_ends_of_every_dimension_are_of_it() -> None:
    for dimension in space(LAYERED).dimensions:
        assert all(contains(dimension.parameter, value) for value in values(dimension.parameter))
