"""What happens to images in training: known answers, another resampling of the same movements, the same bits in every lane."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import AUGMENTATION, NETWORKS, load
from models.export import to_keras
from models.layers import Augmentation, initialise, set_hyper
from models.random import AUGMENTATION as STREAM
from models.random import fractions, key
from tests.conftest import study_spec
from tests.layer_rows import MODES, in_mode, inputs
from tuner import data as sources

B, H, W, C = 60, 8, 11, 2
X = inputs((B, H, W, C))
ALL = {"shift": 0.2, "flip": 0.5, "crop": 0.4, "cutout": 0.5, "rotation": 40.0}
EXACT = {"shift": 0.2, "flip": 0.5, "cutout": 0.5}
KEY = key(5, STREAM, 0)


def augmented(strengths, x=X, *, mode="eager", steps=1):
    """What the first steps make of `x`, [steps, ...]."""
    layer = Augmentation(**strengths, seed=5)
    step = in_mode(mode, lambda: layer(tf.constant(x), training=True))
    return np.stack([step() for _ in range(steps)])


def shifted(image, down, right):
    """The image moved by whole pixels, 0 where nothing comes from."""
    moved = np.zeros_like(image)
    for i, j in np.ndindex(H, W):
        if 0 <= i - down < H and 0 <= j - right < W:
            moved[i, j] = image[i - down, j - right]
    return moved


@pytest.mark.parametrize("mode", MODES)
def test_a_shift_moves_whole_pixels_and_every_shift_is_as_likely(mode):
    """0.2 of 8 rows and of 11 columns is nearest to 2 of each."""
    moves = {(down, right): 0 for down in range(-2, 3) for right in range(-2, 3)}
    for y in augmented({"shift": 0.2}, mode=mode, steps=10):
        for image, original in zip(y, X, strict=True):
            found = [move for move in moves if np.array_equal(image, shifted(original, *move))]
            assert len(found) == 1
            moves[found[0]] += 1
    counts = np.array(list(moves.values()))
    assert ((counts - 24) ** 2 / 24).sum() < 51  # chi-square with 24 degrees of freedom, p = 0.001


@pytest.mark.parametrize("mode", MODES)
def test_a_mirror_changes_left_and_right_and_twice_nothing(mode):
    once = augmented({"flip": 1.0}, mode=mode)[0]
    np.testing.assert_array_equal(once, X[:, :, ::-1])
    np.testing.assert_array_equal(augmented({"flip": 1.0}, once, mode=mode)[0], X)
    mirrored = (augmented({"flip": 0.3}, mode=mode, steps=20) != X).any(axis=(2, 3, 4))
    np.testing.assert_allclose(mirrored.mean(), 0.3, atol=0.05)


def test_a_square_of_its_side_is_covered_wherever_its_centre_lies():
    """0.5 of the shorter side: 4 by 4 pixels, less what lies outside."""
    areas = (augmented({"cutout": 0.5}, np.ones((B, H, W, 1), "float32"), steps=40) == 0).sum(axis=(2, 3, 4))
    expected = sorted(
        len({*range(i - 2, i + 2)} & {*range(H)}) * len({*range(j - 2, j + 2)} & {*range(W)}) for i, j in np.ndindex(H, W)
    )
    assert set(areas.ravel()) == set(expected)
    assert areas.max() == 16
    np.testing.assert_allclose(areas.mean(), np.mean(expected), rtol=0.02)


def places(strengths, draws):
    """The matrix from an output's (column, row, 1) to the place that it comes from, by the formulas of each movement."""
    shift_y, shift_x, flip, angle, side, crop_y, crop_x = draws[:7]
    angle = np.radians(strengths["rotation"] * (2 * angle - 1))
    most = [round(strengths["shift"] * size) for size in (W, H)]
    t = [int(u * (2 * m + 1)) - m for u, m in zip((shift_x, shift_y), most, strict=True)]
    side = 1 - strengths["crop"] * side
    centre, corner = np.eye(3), np.eye(3)
    centre[:2, 2] = (W - 1) / 2, (H - 1) / 2
    crop = np.diag([side, side, 1])
    corner[:2, 2] = crop_x * (1 - side) * W - 0.5, crop_y * (1 - side) * H - 0.5
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # from the number of a pixel to its middle
    back = np.array([[1, 0, -t[0]], [0, 1, -t[1]], [0, 0, 1]])
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    mirror = np.diag([-1.0 if flip < strengths["flip"] else 1.0, 1, 1])
    return centre @ mirror @ turn @ np.linalg.inv(centre) @ back @ corner @ crop @ half


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("only", [*sorted(ALL.keys() - {"cutout"}), None])
def test_the_movements_are_those_of_another_resampling(only, mode):
    """TensorFlow's kernel for projective transforms, behind `keras.ops.image`, given the composed matrix of each image."""
    strengths = {name: value if only in (name, None) else 0.0 for name, value in ALL.items() if name != "cutout"}
    draws = fractions(KEY, 0, (B, 9)).numpy().astype(float)
    matrices = np.stack([places(strengths, row)[:2].ravel() for row in draws])
    transforms = np.concatenate([matrices, np.zeros((B, 2))], axis=1).astype("float32")
    expected = keras.ops.image.affine_transform(X, transforms, interpolation="bilinear", fill_mode="constant")
    np.testing.assert_allclose(augmented(strengths, mode=mode)[0], expected, atol=2e-4)


@pytest.mark.parametrize("mode", MODES)
def test_strengths_of_zero_change_no_bit(mode):
    np.testing.assert_array_equal(augmented(dict.fromkeys(AUGMENTATION, 0.0), mode=mode)[0], X)


@pytest.mark.parametrize(("strengths", "rounding"), [(ALL, 1e-4), (EXACT, 0)], ids=["interpolated", "exact"])
def test_eager_graph_and_xla_draw_the_same(strengths, rounding):
    eager, graph, jit = (augmented(strengths, mode=mode, steps=2) for mode in MODES)
    np.testing.assert_array_equal(graph, eager)
    np.testing.assert_allclose(jit, eager, rtol=0, atol=rounding)
    assert not np.array_equal(eager[0], eager[1])


@pytest.mark.parametrize("mode", ["graph", "jit"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared batch", "own batch"])
@pytest.mark.parametrize("K", [1, 3])
def test_a_lane_has_the_bits_of_its_trial_alone(K, shared, mode):
    shape = (B, H, W, C) if shared else (K, B, H, W, C)
    images = inputs(shape)
    strengths = {name: value * np.linspace(0.5, 1, K) for name, value in ALL.items()}

    def trained(seeds, strengths, x, lanes=None):
        begin = keras.Input(x.shape[1:], batch_size=None if lanes is None or shared else lanes)
        model = keras.Model(begin, Augmentation(**ALL, lanes=lanes)(begin))
        initialise(model, *seeds)
        set_hyper(model, strengths)
        step = in_mode(mode, lambda: model(tf.constant(x), training=True))
        return [step().numpy() for _ in range(2)][1]

    packed = trained(range(K), strengths, images, K)
    assert packed.shape == (K, B, H, W, C)
    for lane in range(K):
        alone = trained([lane], {name: of[lane] for name, of in strengths.items()}, images if shared else images[lane])
        np.testing.assert_array_equal(packed[lane], alone)


def test_a_row_is_drawn_alike_in_every_batch_and_beside_every_other_strength():
    whole = augmented(ALL)[0]
    np.testing.assert_array_equal(augmented(ALL, X[:7])[0], whole[:7])
    np.testing.assert_array_equal(augmented({"shift": 0.2, "crop": 0.0, "cutout": 0.0}), augmented({"shift": 0.2}))


def test_outside_training_images_and_draws_stay_as_they_are():
    layer = Augmentation(**ALL)
    np.testing.assert_array_equal(layer(X), X)
    assert layer.step.numpy() == 0
    assert Augmentation(**ALL, lanes=3)(X).shape == (3, B, H, W, C)


def test_gradients_go_back_where_pixels_came_from():
    """The movement is linear in the image: with y = A x the gradient of wᵀ y is Aᵀ w, and its product with x is wᵀ y."""
    layer, x, w = Augmentation(**ALL, seed=5, dtype="float64"), tf.constant(X, tf.float64), inputs(X.shape, seed=2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True) * w)
    np.testing.assert_allclose(tf.reduce_sum(tape.gradient(loss, x) * x), loss, rtol=1e-12)


def test_beyond_the_border_is_black_as_networks_see_it():
    digits = sources.load(study_spec(data="digits").data, 0, [])
    np.testing.assert_array_equal((0 - digits.offset) * digits.scale, 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_augment_what_they_train_on_and_serve_without(name):
    """A mirror for certain: the network in training is the plain one on mirrored images."""
    plain, augmenting = (load(name)({**NETWORKS[name].defaults(), "flip": flip}, (16, 16, 1), 3) for flip in (0.0, 1.0))
    for model in (plain, augmenting):
        initialise(model, 4)
    images = inputs((6, 16, 16, 1))
    np.testing.assert_array_equal(augmenting(images, training=True), plain(images[:, :, ::-1], training=True))
    np.testing.assert_array_equal(augmenting(images), plain(images))
    np.testing.assert_allclose(to_keras(augmenting)(images), plain(images), rtol=1e-5, atol=1e-6)
