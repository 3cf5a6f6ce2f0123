"""Sizes by formula against what TensorFlow does."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.shapes import checked_padding, image_size, largest_divisor, output_size, pair

sizes = st.integers(1, 40)


def nothing_left(image, kernel, stride, padding):
    """By TensorFlow's rules for shapes: run at once on a CPU, it makes up one place for a kernel that does not fit."""
    with tf.Graph().as_default():
        try:
            return min(tf.nn.conv2d(tf.zeros((1, *image, 1)), tf.zeros((*kernel, 1, 1)), stride, padding).shape) == 0
        except ValueError:
            return True


@settings(max_examples=200)
@given(st.tuples(sizes, sizes), st.tuples(st.integers(1, 7), st.integers(1, 7)), st.integers(1, 5), st.integers(0, 4))
def test_a_convolution_has_the_size_that_the_formula_says(image, kernel, stride, padding):
    for how, explicit in (("same", "SAME"), ("valid", "VALID"), (padding, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])):
        expected = tuple(output_size(size, k, stride, how) for size, k in zip(image, kernel, strict=True))
        if min(expected) < 1:
            with pytest.raises(ValueError, match="does not fit"):
                image_size(image, kernel, (stride, stride), how)
            assert nothing_left(image, kernel, stride, explicit)
        else:
            x, w = tf.zeros((1, *image, 1)), tf.zeros((*kernel, 1, 1))
            assert tuple(tf.nn.conv2d(x, w, stride, explicit).shape)[1:3] == expected
            assert image_size(image, kernel, (stride, stride), how) == expected


def test_what_is_unknown_stays_unknown():
    assert image_size((None, 7), (3, 3), (2, 2), 1) == (None, 4)


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_largest_divisor_is_one_and_no_larger_one_is(number, limit):
    found = largest_divisor(number, limit)
    assert number % found == 0
    assert found <= limit
    assert all(number % d for d in range(found + 1, min(limit, number) + 1))


def test_pairs_and_paddings():
    assert pair("size", 3) == (3, 3)
    assert pair("size", [3, 4]) == (3, 4)
    assert [checked_padding(value, limit=1) for value in ("same", "valid", 0, 1)] == ["same", "valid", 0, 1]
    for wrong in (0, -1, 1.5, True, (1,), (1, 2, 3), "2"):
        with pytest.raises(ValueError, match="size"):
            pair("size", wrong)
    for wrong in (2, -1, 1.0, True, "full"):
        with pytest.raises(ValueError, match="padding"):
            checked_padding(wrong, limit=1)
