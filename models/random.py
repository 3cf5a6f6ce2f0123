"""Random numbers of our own: a function of (seed, stream, place, step, coordinates) and of nothing else.

TensorFlow's stateless generators give other numbers under XLA than in a graph. Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror
and Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011) is a few integer operations, the same to the bit in NumPy, in a
graph and under XLA. Every number has coordinates of its own, so that one more unit, or one more lane, moves no other number.

Shapes: K lanes. A key is two words [2], or [K, 2].
"""

import random
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Words = Any  # uint32, of NumPy or TensorFlow
Key: TypeAlias = NDArray[np.uint32]
WEIGHTS, MASKS, AUGMENTATION = range(3)  # streams of a trial
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_SPATIAL = 1 << 20  # what a step along a kernel's height or width adds, whatever the number of channels


def threefry(key: tuple[Words, Words], counter: tuple[Words, Words]) -> tuple[Words, Words]:
    """The two words that belong to `counter` under `key`; all are uint32 and broadcast."""
    xor, add, turn = _TENSORS if any(tf.is_tensor(word) for word in (*key, *counter)) else _ARRAYS
    keys = (*key, xor(xor(key[0], key[1]), np.uint32(_PARITY)))
    a, b = add(counter[0], keys[0]), add(counter[1], keys[1])
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            a = add(a, b)
            b = xor(turn(b, bits), a)
        a = add(a, keys[(group + 1) % 3])
        b = add(add(b, keys[(group + 2) % 3]), np.uint32(group + 1))
    return a, b


def _wrapped(left: Words, right: Words) -> Words:
    with np.errstate(over="ignore"):
        return np.add(left, right, dtype=np.uint32)


def _turned(word: Words, bits: int) -> Words:
    return (word << np.uint32(bits)) | (word >> np.uint32(32 - bits))


def _turned_tensor(word: tf.Tensor, bits: int) -> tf.Tensor:
    left, right = tf.constant(bits, tf.uint32), tf.constant(32 - bits, tf.uint32)
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(word, left), tf.bitwise.right_shift(word, right))


_ARRAYS = (np.bitwise_xor, _wrapped, _turned)
_TENSORS = (tf.bitwise.bitwise_xor, tf.add, _turned_tensor)


def key(seed: int, stream: int, place: int) -> Key:
    """The key [2] of one user of random numbers: the trial's seed, one of the streams, and its place among their users.

    A seed has 64 bits; of a larger or a negative one the lower 64 count.
    """
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32 & 0xFFFFFFFF)
    return np.array(threefry((low, high), (np.uint32(stream), np.uint32(place))), np.uint32)


def fresh_key() -> Key:
    """A key [2] for what has no seed of its own; like the numbers of Keras it follows from `keras.utils.set_random_seed`."""
    return key(random.getrandbits(64), WEIGHTS, 0)


def _coordinates(shape: Sequence[int]) -> NDArray[np.uint32]:
    """The first coordinate of every place of a kernel [..., inputs, outputs]; the output is the second.

    It depends on neither number, so that a wider kernel begins with the values of a narrower one.
    """
    spatial = np.arange(int(np.prod(shape[:-2])), dtype=np.uint32).reshape(*shape[:-2], 1, 1)
    return spatial * np.uint32(_SPATIAL) + np.arange(shape[-2], dtype=np.uint32).reshape(-1, 1)


def normal(key: Key, shape: Sequence[int]) -> NDArray[np.float64]:
    """Standard normal numbers for a kernel of `shape` [..., inputs, outputs], by Box and Muller 1958."""
    words = threefry((key[0], key[1]), (_coordinates(shape), np.arange(shape[-1], dtype=np.uint32)))
    radius, angle = (_between(word) for word in words)
    return np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)


def uniform(key: Key, shape: Sequence[int]) -> NDArray[np.float64]:
    """Numbers between 0 and 1 for a kernel of `shape` [..., inputs, outputs]."""
    words = threefry((key[0], key[1]), (_coordinates(shape), np.arange(shape[-1], dtype=np.uint32)))
    return _between(words[0])


def _between(word: Words) -> NDArray[np.float64]:
    """Words as numbers above 0 and below 1."""
    return np.asarray((word + 0.5) / 2.0**32, np.float64)


def _words(key: tf.Tensor, step: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Two words for each pair of coordinates, one behind the other along the last axis."""
    base = threefry((key[..., 0], key[..., 1]), (step, tf.zeros_like(step)))
    base = tuple(tf.reshape(word, [*word.shape, *[1] * first.shape.rank]) for word in base)
    words = tf.stack(threefry(base, (first, second)), axis=-1)
    return tf.reshape(words, tf.concat([tf.shape(words)[:-2], [2 * second.shape[0]]], axis=0))


@tf.function(jit_compile=True, autograph=False)
def _fractions(key: tf.Tensor, step: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    words = _words(key, step, first, second)
    return tf.cast(tf.bitwise.right_shift(words, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def fractions(key: Any, step: Any, shape: Sequence[Any]) -> tf.Tensor:
    """Random float32 numbers from 0 to below 1 of `shape`: from a key [2] and a step (), or for each lane from [K, 2] and [K].

    The result is [*shape], or [K, *shape]; each number is the upper 24 bits of a word, exactly. All sizes but the last may be
    tensors. XLA runs it, also inside a graph: a hundred small operations on every element would cost more than the layer they
    serve.
    """
    *leading, last = shape
    first = tf.cast(tf.reshape(tf.range(tf.reduce_prod(leading)), [*leading, 1]), tf.uint32)
    second = tf.constant(np.arange((last + 1) // 2, dtype=np.uint32))
    drawn = _fractions(tf.convert_to_tensor(key), tf.cast(step, tf.uint32), first, second)
    return drawn if last % 2 == 0 else drawn[..., :last]
