"""Claims: against `keras.Model.fit` on the same network, data, optimizer and epochs, `tuner.solo`

    (a) makes a step, validation included, at least 4 times faster once everything is compiled
    (b) runs a whole trial of 10 epochs, after the first of its graph, at least 8 times faster than a new Keras model is built,
        compiled and fitted

Work: digits (1079 training rows, 359 validation rows), 64-128-128-10 with ReLU, Adam at 1e-3, batch 64, 10 epochs, float32.
The peer is a stock Sequential model of Dense layers with `keras.optimizers.Adam`, given normalised arrays; it gets its fastest
options too, as rows without a claim. Peer and engine take turns; figures are medians over the turns.

The second table is what the rule rests on by which the engine chooses XLA on a CPU (`tuner.solo.Solo._jit`).

Command: python -m benchmarks.solo_loop
Needs: 2 CPU cores that nobody else uses, 2 GiB, three minutes.
"""

import gc
import os
import statistics
import time
from dataclasses import dataclass

import keras
import numpy as np

from benchmarks.environment import describe
from tuner import data as sources
from tuner.solo import Solo
from tuner.spec import StudySpec, parse
from tuner.trial import Trial

TURNS, EPOCHS, BATCH, WIDTH, RATE = 5, 10, 64, 128, 1e-3
PEERS = {
    "fit": {},
    "fit, jit_compile": {"jit_compile": True},
    "fit, steps_per_execution": {"steps_per_execution": 17},
}


@dataclass(frozen=True)
class Timed:
    """A trial of ten epochs: seconds in all, the median epoch's milliseconds a step, the last validation accuracy."""

    total: float
    step: float
    accuracy: float


class Clock(keras.callbacks.Callback):
    """Seconds of every epoch of `fit`, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Start."""
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Stop."""
        self.seconds.append(time.perf_counter() - self._begin)


def study(width: int, *, jit: bool | None = None) -> StudySpec:
    """Ten epochs of one network."""
    search = {"width": {"int": [1, 4096]}, "learning_rate": {"float": [1e-5, 1e-1], "log": True}, "batch_size": BATCH}
    return parse({"name": f"width {width}", "train": {"epochs": EPOCHS, "jit": jit}, "search": search})


def milliseconds(epochs: list[float], rows: int) -> float:
    """The median epoch without the first, by its steps."""
    return 1e3 * statistics.median(epochs[1:]) / -(-rows // BATCH)


def fit(data: sources.Data, seed: int, options: dict[str, object]) -> Timed:
    """A new Keras model, built, compiled and fitted."""
    (x, y), (held_out, its_y) = ((normalised(data, split), split.y) for split in (data.train, data.validation))
    gc.collect()
    clock, begin = Clock(), time.perf_counter()
    # Not keras.utils.set_random_seed: it empties TensorFlow's caches of prepared functions, and the engine would pay.
    initial = [keras.initializers.HeNormal(2 * seed + layer) for layer in range(2)]
    hidden = [keras.layers.Dense(WIDTH, "relu", kernel_initializer=kernel) for kernel in initial]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE), loss, metrics=["accuracy"], **options)
    validation = {"validation_data": (held_out, its_y), "validation_batch_size": len(its_y)}
    history = model.fit(x, y, BATCH, EPOCHS, verbose=0, callbacks=[clock], **validation).history
    total = time.perf_counter() - begin
    return Timed(total, milliseconds(clock.seconds, len(y)), history["val_accuracy"][-1])


def normalised(data: sources.Data, split: sources.Split) -> np.ndarray:
    """What a network sees, [N, 64]."""
    return ((split.x - data.offset) * data.scale).reshape(len(split.y), -1)


def solo(engine: Solo, data: sources.Data, seed: int, width: int = WIDTH) -> Timed:
    """A trial of the engine."""
    gc.collect()
    begin = time.perf_counter()
    engine.add(Trial(seed, {"width": width, "learning_rate": RATE, "batch_size": BATCH}, seed))
    epochs = [epoch for _ in range(EPOCHS) for epoch in engine.advance()]
    total = time.perf_counter() - begin
    return Timed(total, milliseconds([e.seconds for e in epochs], len(data.train.y)), epochs[-1].metrics["val_accuracy"])


def median(turns: list[Timed]) -> Timed:
    """Figure by figure."""
    return Timed(*(statistics.median(getattr(turn, name) for turn in turns) for name in ("total", "step", "accuracy")))


def against_fit(data: sources.Data) -> None:
    """The table and the claims."""
    engine = Solo(study(WIDTH), data)
    first = solo(engine, data, 0)
    turns: dict[str, list[Timed]] = {name: [] for name in ("solo", *PEERS)}
    for seed in range(1, TURNS + 1):
        turns["solo"].append(solo(engine, data, seed))
        for name, options in PEERS.items():
            turns[name].append(fit(data, seed, options))
    results = {"solo, first of its graph": first, **{name: median(of) for name, of in turns.items()}}
    print(f"{'':28}{'s per trial':>12}{'ms per step':>12}{'val_accuracy':>14}")
    for name, result in results.items():
        print(f"{name:28}{result.total:12.3f}{result.step:12.3f}{result.accuracy:14.3f}")
    print()
    claim("(a) step of fit / step of solo", results["fit"].step / results["solo"].step, 4)
    claim("(b) trial of fit / trial of solo", results["fit"].total / results["solo"].total, 8)
    print(f"no claim: the first trial of a graph, {results['fit'].total / first.total:.1f} times faster than fit")


def claim(name: str, ratio: float, target: float) -> None:
    """One line."""
    print(f"{name:40} {ratio:6.1f}  target {target}  {'pass' if ratio >= target else 'SHORT'}")


def xla_against_graph(data: sources.Data) -> None:
    """What XLA costs once and wins a step."""
    print(f"\n{'width':>6}{'weights':>10}{'first trial - later one, s':>28}{'ms per step':>24}{'':>4}win a step, ms")
    print(f"{'':16}{'graph':>17}{'XLA':>11}{'graph':>13}{'XLA':>11}")
    for width in (32, 128, 512, 1024):
        engines = {jit: Solo(study(width, jit=jit), data) for jit in (False, True)}
        first = {jit: solo(engine, data, 0, width).total for jit, engine in engines.items()}
        later = {jit: median([solo(engine, data, seed, width) for seed in (1, 2, 3)]) for jit, engine in engines.items()}
        compiling = [first[jit] - later[jit].total for jit in engines]
        weights = 65 * width + (width + 1) * width + (width + 1) * 10
        print(
            f"{width:6}{weights:10}{compiling[0]:17.2f}{compiling[1]:11.2f}"
            f"{later[False].step:13.3f}{later[True].step:11.3f}{later[False].step - later[True].step:18.2f}"
        )


if __name__ == "__main__":
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began\n")
    digits = sources.load(study(WIDTH).data, 0, [])
    against_fit(digits)
    xla_against_graph(digits)
