"""Plans: what is known of a network before there is one."""

import pytest

from models import NETWORKS, Limits
from models.plan import Conv, Flat, Full, Impossible, Norm, Pool, Residual, Sigma, convolved, each, measure


def plan_of(name, shape=(28, 28, 1), outputs=10, **params):
    row = NETWORKS[name]
    return row.plan({**row.defaults(), **params}, shape, outputs)


def weighted(plan):
    """The convolutions and fully connected layers on the way through a network, shortcuts left out."""
    for piece in plan:
        if isinstance(piece, Residual):
            yield from weighted(piece.branch)
        elif isinstance(piece, Conv | Full):
            yield piece


@pytest.mark.parametrize(("depth", "residual"), [(8, True), (20, False), (110, True), (200, False)])
def test_a_residual_network_has_as_many_layers_as_it_says(depth, residual):
    assert len(list(weighted(plan_of("resnet", depth=depth, residual=residual)))) == depth


def test_resnet_110_has_the_weights_of_its_paper():
    """He et al. 2016, table 6: 1.7 million on 32×32×3."""
    weights, _ = NETWORKS["resnet"].size({**NETWORKS["resnet"].defaults(), "depth": 110}, (32, 32, 3), 10)
    assert weights == pytest.approx(1.7e6, rel=0.03)


def test_without_residuals_only_the_shortcuts_are_missing():
    shape, row = (16, 16, 1), NETWORKS["resnet"]
    both = [row.size({**row.defaults(), "depth": 14, "residual": residual}, shape, 10)[0] for residual in (True, False)]
    assert both[0] - both[1] == 16 * 32 + 32 * 64


def test_a_step_of_depth_and_a_padding_in_words_or_numbers():
    depth, padding = NETWORKS["resnet"].parameters["depth"], NETWORKS["convnet"].parameters["padding"]
    assert [depth.refuses(value) for value in (8, 14, 200)] == [""] * 3
    assert depth.refuses(9) == "is not a whole number from 8 to 200 in steps of 6"
    assert [padding.refuses(value) for value in ("same", "valid", 0, 3)] == [""] * 4
    assert padding.refuses("full") == padding.refuses(-1) == "is not one of same, valid or a whole number from 0 to 64"
    assert Limits(True, choices=(True, False)).refuses(1) == "is not one of true, false"


def test_measures_follow_the_formulas():
    plan = (Conv(4, 3, stride=2, padding=1), Norm("batch"), Sigma("relu"), Pool("max"), Flat(), Full(5, bias=False))
    found = measure(plan, (9, 8, 2))
    assert found.shape == (5,)
    assert found.weights == (3 * 3 * 2 + 1) * 4 + 2 * 4 + 2 * 2 * 4 * 5
    assert found.activations == 3 * (5 * 4 * 4) + 2 * 2 * 4 + 5


def test_a_residual_piece_counts_both_ways_and_their_sum():
    branch = (Conv(4, 3), Conv(4, 3))
    found = measure((Residual(branch, (Conv(4, 1),)),), (6, 6, 2))
    assert found.shape == (6, 6, 4)
    assert found.weights == (9 * 2 + 1) * 4 + (9 * 4 + 1) * 4 + (2 + 1) * 4
    assert found.activations == 4 * (6 * 6 * 4)


@pytest.mark.parametrize(
    ("plan", "shape", "said"),
    [
        ((Conv(4, 3), Conv(4, 5, padding="valid")), (4, 4, 1), "convolution 2: 5×5 with padding valid does not fit into 4×4"),
        ((Pool("max"), Pool("max"), Pool("max")), (4, 9, 1), "max pooling 3: 2×2 with padding valid does not fit into 1×2"),
        ((Full(3), Conv(4, 3)), (4, 4, 1), "a convolution takes images; a row of the data has shape 3"),
    ],
)
def test_what_is_impossible_is_said_with_its_place(plan, shape, said):
    with pytest.raises(Impossible) as refused:
        measure(plan, shape)
    assert str(refused.value) == said


def test_a_normalisation_stands_between_a_convolution_and_its_activation():
    conv = Conv(4, 3, activation="tanh")
    assert convolved(conv, "none") == (conv,)
    assert convolved(conv, "batch") == (Conv(4, 3, activation="tanh", later=True), Norm("batch"), Sigma("tanh"))


def test_a_parameter_of_a_layer_comes_before_that_of_all():
    assert each({"units": 8, "units_2": 4}, "units", 3) == [8, 4, 8]


def test_a_chain_has_no_convolution_behind_a_linear_layer():
    plan = plan_of("chain", depth=4, kind_1="convolution", kind_2="linear", kind_3="convolution", units_3=7)
    assert [type(piece) for piece in weighted(plan)] == [Conv, Full, Full, Full, Full]
    assert [piece.units for piece in weighted(plan) if isinstance(piece, Full)] == [64, 7, 64, 10]


def test_small_images_are_padded_for_lenet5_and_large_ones_are_not():
    assert [plan_of("lenet", shape)[0].padding for shape in ((28, 28, 1), (32, 32, 1))] == [2, 0]
    assert plan_of("lenet", preset="caffe")[0].padding == 0
