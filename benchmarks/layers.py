"""Claims: (a) forward and backward of every layer of `models.layers` take at most 1.05 times what `keras.layers` take

on a CPU, in a graph and compiled by XLA, in float32, with training=True: output, gradient for the input and for every weight;

    (b) a training step of LeNet in `tuner.solo`, validation included, is at least 1.4 times faster than in `keras.Model.fit`

Work of (a): for each layer one input; our layer and `layer.to_keras()`, which has its weights. The two take turns of about 10 ms,
and which goes first alternates; the figure is the median of the turns' ratios, so that what else runs on the machine weighs on
both. The column "itself" is the same figure for two copies of the Keras layer: what it differs from 1 is noise, and a ratio that
exceeds 1.05 by less than that says nothing.

Work of (b): LeNet of 61,706 weights, Adam at 1e-3, batch 128, epochs of 8,000 images of 28x28 and 1,000 for validation, whose
pixels are noise: time does not depend on them. The peer is a stock Sequential model, given normalised arrays. Engine and peer
take turns of one epoch each; the figure is the median of the turns' ratios.

Command: python -m benchmarks.layers [name ...]     a layer of the table, or lenet
Needs: 2 CPU cores that nobody else uses, 2 GiB, four minutes.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import models.layers as ours
from benchmarks.environment import describe
from benchmarks.solo_loop import Clock
from tuner.data import Data, Facts, Split
from tuner.solo import Solo
from tuner.spec import parse
from tuner.trial import Trial

TURNS, TURN, TARGET = 41, 0.01, 1.05
VECTOR, IMAGE = (128, 256), (32, 28, 28, 16)
LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "FullyConnected 256": (lambda: ours.FullyConnected(256, activation="relu"), VECTOR),
    "Convolution 3x3": (lambda: ours.Convolution(16, 3, activation="relu"), IMAGE),
    "Convolution 5x5 valid /2": (lambda: ours.Convolution(32, 5, stride=2, padding="valid"), IMAGE),
    "Convolution 3x3 P=1": (lambda: ours.Convolution(16, 3, padding=1), IMAGE),
    "Convolution 3x3 P=1 /2": (lambda: ours.Convolution(16, 3, stride=2, padding=1), IMAGE),
    "MaxPooling 2": (lambda: ours.MaxPooling(2), IMAGE),
    "AveragePooling 2": (lambda: ours.AveragePooling(2), IMAGE),
    "GlobalAveragePooling": (lambda: ours.GlobalAveragePooling(), IMAGE),
    "BatchNormalization": (lambda: ours.BatchNormalization(), IMAGE),
    "BatchNormalization, vector": (lambda: ours.BatchNormalization(), VECTOR),
    "GroupNormalization 8": (lambda: ours.GroupNormalization(8), IMAGE),
    "LayerNormalization": (lambda: ours.LayerNormalization(), VECTOR),
    "Dropout": (lambda: ours.Dropout(0.3), VECTOR),
    "Dropout, image": (lambda: ours.Dropout(0.3), (16, 14, 14, 16)),
    "Flatten": (lambda: ours.Flatten(), IMAGE),
    "Activation silu": (lambda: ours.Activation("silu"), IMAGE),
}


def step(layer: keras.layers.Layer, x: tf.Tensor, *, jit: bool) -> Callable[[], Any]:
    """Forward and backward as one compiled function."""

    def run() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y * y)
        return tape.gradient(loss, [x, *(variable.value for variable in layer.trainable_variables)])

    compiled = tf.function(run, jit_compile=jit, autograph=False).get_concrete_function()
    compiled()
    return compiled


def seconds(run: Callable[[], Any], times: int) -> float:
    """Of one call, from several behind one another."""
    begin = time.perf_counter()
    for _ in range(times):
        result = run()
    result[0].numpy()
    return (time.perf_counter() - begin) / times


def ratios(mine: Callable[[], Any], its: Callable[[], Any]) -> Iterator[tuple[float, float]]:
    """Seconds of both, turn by turn."""
    times = max(1, round(TURN / seconds(its, 3)))
    for turn in range(TURNS):
        if turn % 2:
            yield seconds(mine, times), seconds(its, times)
        else:
            late = seconds(its, times)
            yield seconds(mine, times), late


def compare(name: str, *, jit: bool) -> float:
    """One line of the table; the ratio."""
    make, shape = LAYERS[name]
    layer, x = make(), tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    layer.build(shape)
    first, second = layer.to_keras(), layer.to_keras()
    mine, its, copy = (step(each, x, jit=jit) for each in (layer, first, second))
    turns = list(ratios(mine, its))
    itself = statistics.median(a / b for a, b in ratios(copy, its))
    ratio = statistics.median(a / b for a, b in turns)
    best = [1e3 * min(column) for column in zip(*turns, strict=True)]
    verdict = "pass" if ratio <= TARGET else "SHORT"
    print(f"{name:28}{'XLA' if jit else 'graph':>6}{best[0]:9.3f}{best[1]:9.3f}{ratio:8.2f}{itself:8.2f}  {verdict}", flush=True)
    return ratio


# One step of a network ----------------------------------------------------------------------------------------------------------

BATCH, RATE, FASTER, EPOCHS = 128, 1e-3, 1.4, 21


def stock_lenet() -> keras.Model:
    """The same of Keras' layers, compiled."""
    keras_layers: list[Any] = [keras.Input((28, 28, 1))]
    for filters, padding in ((6, "same"), (16, "valid")):
        keras_layers += [keras.layers.Conv2D(filters, 5, padding=padding, activation="relu"), keras.layers.MaxPooling2D()]
    hidden = [keras.layers.Dense(units, "relu") for units in (120, 84)]
    model = keras.Sequential([*keras_layers, keras.layers.Flatten(), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss, metrics=["accuracy"])
    return model


def noise() -> Data:
    """Images of 28x28 grey pixels in 10 classes, divided by 255 before a network sees them."""
    rng = np.random.default_rng(0)

    def split(rows: int) -> Split:
        return Split(rng.integers(0, 256, (rows, 28, 28, 1), np.uint8), rng.integers(0, 10, rows, np.int32), None)

    offset, scale = np.zeros(1, np.float32), np.full(1, 1 / 255, np.float32)
    names = tuple("0123456789")
    return Data(Facts(10_000, (28, 28, 1), 10), split(8_000), split(1_000), offset, scale, 0.0, 1.0, names, "")


def epochs_of_fit(data: Data) -> Iterator[float]:
    """Seconds of one epoch after another, validation included."""
    model, (train, held_out) = stock_lenet(), (data.train, data.validation)
    x, its_x = ((part.x * data.scale).astype(np.float32) for part in (train, held_out))
    while True:
        clock = Clock()
        checked = {"validation_data": (its_x, held_out.y), "validation_batch_size": len(its_x)}
        model.fit(x, train.y, BATCH, verbose=0, callbacks=[clock], **checked)
        yield clock.seconds[0]


def epochs_of_solo(data: Data) -> Iterator[float]:
    """The same of the engine."""
    search = {"learning_rate": {"float": [1e-4, 1e-1], "log": True}, "batch_size": BATCH}
    study = {"name": "lenet", "model": "lenet", "train": {"epochs": EPOCHS + 1}, "search": search}
    engine = Solo(parse(study), data)
    engine.add(Trial(0, {"learning_rate": RATE, "batch_size": BATCH}, 0))
    return (epoch.seconds for [epoch] in iter(engine.advance, []))


def compare_lenet() -> None:
    """The line of claim (b)."""
    data = noise()
    turns = list(zip(epochs_of_solo(data), epochs_of_fit(data), strict=False))[1:]
    steps = -(-len(data.train.y) // BATCH)
    mine, its = (1e3 * statistics.median(column) / steps for column in zip(*turns, strict=True))
    ratio = statistics.median(b / a for a, b in turns)
    verdict = "pass" if ratio >= FASTER else "SHORT"
    print(f"\nLeNet, ms per step: solo {mine:.2f}, fit {its:.2f}; fit / solo {ratio:.2f}  target {FASTER}  {verdict}")


if __name__ == "__main__":
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began\n")
    print(f"{'':28}{'':6}{'ours, ms':>9}{'Keras':>9}{'ratio':>8}{'itself':>8}   (times: the best turn)")
    names = sys.argv[1:] or [*LAYERS, "lenet"]
    found = [compare(name, jit=jit) for name in names if name != "lenet" for jit in (False, True)]
    if found:
        short = sum(ratio > TARGET for ratio in found)
        print(f"\nforward and backward, ours / Keras: largest {max(found):.2f}  target {TARGET}  {short} of {len(found)} SHORT")
    if "lenet" in names:
        compare_lenet()
