"""Our random numbers: the published answers, the same bits everywhere, and numbers that do not move."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.random import MASKS, WEIGHTS, fractions, fresh_key, key, normal, threefry, uniform
from tests.layer_rows import MODES, in_mode

# Random123's file tests/kat_vectors, threefry2x32 with 20 rounds: key, counter, result.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("secret", "counter", "answer"), KNOWN)
def test_gives_the_published_answers(secret, counter, answer):
    assert tuple(int(word) for word in threefry(tuple(map(np.uint32, secret)), tuple(map(np.uint32, counter)))) == answer
    for mode in MODES:
        words = in_mode(mode, lambda *words: threefry(words[:2], words[2:]))(
            *(tf.constant(w, tf.uint32) for w in secret + counter)
        )
        assert tuple(int(word) for word in words) == answer


def reference(secret, step, shape):
    """The same fractions number by number, from the definition."""
    base = threefry((secret[0], secret[1]), (np.uint32(step), np.uint32(0)))
    flat = np.empty((int(np.prod(shape[:-1])), shape[-1]), np.float32)
    for row, column in np.ndindex(flat.shape):
        word = threefry(base, (np.uint32(row), np.uint32(column // 2)))[column % 2]
        flat[row, column] = (int(word) >> 8) / 2**24
    return flat.reshape(shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(4, 6), (3, 5), (2, 3, 2, 3)])
def test_fractions_are_the_same_bits_everywhere(mode, shape):
    secret = key(7, MASKS, 3)
    found = in_mode(mode, lambda k, s: fractions(k, s, shape))(tf.constant(secret), tf.constant(9, tf.int64))
    np.testing.assert_array_equal(found, reference(secret, 9, shape))


@pytest.mark.parametrize("mode", MODES)
def test_a_lane_draws_what_it_draws_alone(mode):
    keys, steps = np.stack([key(seed, MASKS, 0) for seed in (1, 2, 3)]), np.array([4, 0, 9])
    found = in_mode(mode, lambda k, s: fractions(k, s, (3, 5)))(tf.constant(keys), tf.constant(steps))
    for lane, (secret, step) in enumerate(zip(keys, steps, strict=True)):
        np.testing.assert_array_equal(found[lane], reference(secret, step, (3, 5)))


def test_a_smaller_shape_draws_the_beginning_of_a_larger_one():
    secret = key(1, WEIGHTS, 0)
    for draw in (normal, uniform):
        large = draw(secret, (3, 3, 8, 6))
        np.testing.assert_array_equal(draw(secret, (3, 3, 5, 2)), large[:, :, :5, :2])
        np.testing.assert_array_equal(draw(secret, (8, 6)), large[0, 0])
    large = fractions(secret, 0, (8, 6))
    for shape in ((8, 3), (5, 6), (5, 4)):
        np.testing.assert_array_equal(fractions(secret, 0, shape), large[: shape[0], : shape[1]])


def test_all_that_decides_a_key_changes_it():
    keys = {tuple(key(seed, stream, place)) for seed in (0, 1, 2**32, 2**63) for stream in (WEIGHTS, MASKS) for place in (0, 1)}
    assert len(keys) == 16
    assert tuple(key(-1, WEIGHTS, 0)) == tuple(key(2**64 - 1, WEIGHTS, 0))


def test_keys_without_a_seed_follow_from_the_seed_of_keras():
    drawn = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        drawn.append([tuple(fresh_key()) for _ in range(2)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def test_fractions_are_even_and_independent():
    drawn = fractions(key(3, MASKS, 1), 0, (400, 500)).numpy().astype(float)
    counts = np.histogram(drawn, 50, (0, 1))[0]
    assert ((counts - 4000) ** 2 / 4000).sum() < 86  # chi-square with 49 degrees of freedom, p = 0.001
    following = fractions(key(3, MASKS, 1), 1, (400, 500)).numpy()
    for other in (following, np.roll(drawn, 1, axis=0), np.roll(drawn, 1, axis=1)):
        assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(drawn.size)


def test_normal_numbers_are_normal():
    drawn = normal(key(3, WEIGHTS, 1), (400, 500)).ravel()
    moments = [drawn.mean(), drawn.var(), (drawn**3).mean(), (drawn**4).mean()]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.05)
