"""Claims: for each method, on 1 and 10 million float32 parameters, without and with XLA (`jit_compile`), `Optimizer.apply`

    (a) takes at most the time of Keras' own optimizer of the same name
    (b) with XLA on 10 million parameters moves its bytes at 70 % of the bandwidth of a copy, or more

Work: 20 square matrices. One step is one call of a `tf.function`, whose gradients are its arguments: in a loop inside the call
they would be loop constants, and the compiler could take what depends on them alone out of the loop. The variables are real ones.
Keras gets equal hyper-parameters; dtype, shapes, start and gradients are the same.

Bytes: the gradient read once, the parameter and every slot read and written once, 4 (3 + 2 slots) bytes a parameter. The copy
moves as many bytes, half read and half written, by all cores at once or by one, whichever is faster, right before and after each
turn. The two optimizers take turns, in alternating order; a ratio is the median over the turns of the ratio of two neighbours,
and what else the machine does touches both. Where the memory of the variables happens to lie moves a figure by up to a fifth, so
each case is built twice, once ours first, once Keras' first.

What limits it: XLA on a CPU makes a loop of its own for each slot and for the weight, so Adam moves 40 bytes where 28 would do.
Lion's weight and slot both want the old slot, so it is copied first; Adadelta's step is a loop more; LAMB writes the squares
under its two norms out before it sums them. Without XLA our slots get a new buffer each step, Keras' are changed in place; our
SGD looks up each weight that it then changes in place, 20 operations without work that are 3 to 5 % of its time at 1 M; and our
Nesterov has a multiplication more, by which it starts from either of its points.

What misleads: a copy writes where it has not read, which costs it more than a step that writes where it read, so a share can
exceed 100 %; and whatever else uses the memory slows a copy more than a step that computes. Shares mean little on a busy machine.

Command: python -m benchmarks.optimizer_step
Needs: 2 CPU cores that nobody else uses, 2 GiB, eight minutes.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.environment import describe
from optimizers import load

TENSORS, BUILDS, TURNS, MILLION = 20, 2, 8, 1_000_000
STEPS_A_TURN = {1: 10, 10: 2}  # for each size, in millions of parameters
LARGEST = max(STEPS_A_TURN)
SLOWER, BANDWIDTH = 1.0, 0.7
BETAS = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

# label → our name and options, Keras' class and options
METHODS: dict[str, tuple[str, dict[str, Any], type, dict[str, Any]]] = {
    "SGD": ("sgd", {}, keras.optimizers.SGD, {}),
    "SGD, momentum": ("momentum", {"momentum": 0.9}, keras.optimizers.SGD, {"momentum": 0.9}),
    "SGD, Nesterov": (
        "nesterov",
        {"schedule": "constant", "momentum": 0.9},
        keras.optimizers.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
    "Adagrad": ("adagrad", {"epsilon": 1e-7}, keras.optimizers.Adagrad, {"epsilon": 1e-7}),
    "RMSProp": ("rmsprop", {"rho": 0.9, "epsilon": 1e-7}, keras.optimizers.RMSprop, {"rho": 0.9, "epsilon": 1e-7}),
    "Adadelta": ("adadelta", {"rho": 0.9, "epsilon": 1e-6}, keras.optimizers.Adadelta, {"rho": 0.9, "epsilon": 1e-6}),
    "Adam": ("adam", BETAS, keras.optimizers.Adam, BETAS),
    "AdamW": ("adamw", {**BETAS, "weight_decay": 0.004}, keras.optimizers.AdamW, {**BETAS, "weight_decay": 0.004}),
    "Nadam": ("nadam", {**BETAS, "momentum_decay": 1.0}, keras.optimizers.Nadam, BETAS),
    "Lion": ("lion", {"beta_1": 0.9, "beta_2": 0.99}, keras.optimizers.Lion, {"beta_1": 0.9, "beta_2": 0.99}),
    "Muon": (
        "muon",
        {"exclude": (), "momentum": 0.95, "weight_decay": 0.004},
        keras.optimizers.Muon,
        {"momentum": 0.95, "weight_decay": 0.004},
    ),
    "LAMB": ("lamb", {**BETAS, "weight_decay": 0.01}, keras.optimizers.Lamb, {**BETAS, "weight_decay": 0.01}),
}
RATE = 1e-3
ORDERS = (slice(None), slice(None, None, -1))


class Step:
    """A compiled step of one optimizer on its own variables; `compiling` is what its first call took, in seconds."""

    def __init__(self, optimizer: keras.optimizers.Optimizer, gradients: Sequence[tf.Tensor], *, jit: bool) -> None:
        start = np.random.default_rng(1).normal(size=gradients[0].shape).astype("float32")
        variables = [keras.Variable(start) for _ in gradients]
        optimizer.build(variables)
        self._step = tf.function(lambda *grads: optimizer.apply(grads, variables), jit_compile=jit, autograph=False)
        self._gradients = gradients
        self.compiling = seconds(self)
        self()

    def __call__(self) -> None:
        """One step."""
        self._step(*self._gradients)


class Copy:
    """A copy that moves so many bytes, by `threads` threads."""

    def __init__(self, moved: int, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads)
        half = moved // 2 // 4
        parts = np.linspace(0, half, threads + 1).astype(int)
        source, target = np.ones(half, "float32"), np.zeros(half, "float32")
        self._parts = [(target[a:b], source[a:b]) for a, b in pairwise(parts)]

    def __call__(self) -> None:
        """One copy."""
        list(self._threads.map(lambda part: np.copyto(*part), self._parts))


@dataclass(frozen=True)
class Figures:
    """Of one method at one size: seconds a step and to compile, our time over Keras', our bandwidth over that of the copy."""

    step: float
    peer: float
    compiling: float
    peer_compiling: float
    ratio: float
    bandwidth: float
    share: float


def seconds(work: Callable[[], None], times: int = 1) -> float:
    """For one of so many calls."""
    begin = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begin) / times


def gradients(millions: int) -> list[tf.Tensor]:
    """TENSORS square matrices with so many values in all, up to rounding."""
    rng, side = np.random.default_rng(0), round((millions * MILLION / TENSORS) ** 0.5)
    return [tf.constant(rng.normal(size=(side, side)).astype("float32")) for _ in range(TENSORS)]


def bytes_moved(slots: int, grads: Sequence[tf.Tensor]) -> int:
    """Those of one step."""
    return 4 * (3 + 2 * slots) * sum(int(tf.size(gradient)) for gradient in grads)


def measure(label: str, millions: int, *, jit: bool) -> Figures:
    """Medians over builds and turns."""
    slots = len(load(METHODS[label][0]).slots)
    grads = gradients(millions)
    moved = bytes_moved(slots, grads)
    copies = [Copy(moved, threads) for threads in {1, os.cpu_count() or 1}]
    compiling, turns = [], []
    for build in range(BUILDS):
        gc.collect()
        ours, theirs = pair(label, grads, jit=jit, order=ORDERS[build % 2])
        compiling.append((ours.compiling, theirs.compiling))
        turns += [one_turn([ours, theirs], copies, STEPS_A_TURN[millions], ORDERS[turn % 2]) for turn in range(TURNS)]
    step = statistics.median(a for a, _, _ in turns)
    return Figures(
        step,
        statistics.median(b for _, b, _ in turns),
        *(statistics.median(times) for times in zip(*compiling, strict=True)),
        statistics.median(a / b for a, b, _ in turns),
        moved / step,
        statistics.median(copy / a for a, _, copy in turns),
    )


def pair(label: str, grads: Sequence[tf.Tensor], *, jit: bool, order: slice) -> list[Step]:
    """Our step and Keras', built in that order."""
    name, options, peer, its_options = METHODS[label]
    classes = [(load(name), options), (peer, its_options)]
    return [Step(make(RATE, **its), grads, jit=jit) for make, its in classes[order]][order]


def one_turn(steps: list[Step], copies: Sequence[Copy], times: int, order: slice) -> tuple[float, float, float]:
    """Seconds of our step, of theirs and of the faster copy."""
    before = min(seconds(copy) for copy in copies)
    ours, theirs = [seconds(step, times) for step in steps[order]][order]
    after = min(seconds(copy) for copy in copies)
    return ours, theirs, min(before, after)


def table(results: dict[tuple[str, int, bool], Figures]) -> None:
    """All figures."""
    print(f"{'':26}{'ms per step':>20}{'ours/':>9}{'ours,':>9}{'of the':>8}{'compiling, s':>17}")
    print(f"{'':26}{'ours':>10}{'Keras':>10}{'Keras':>9}{'GB/s':>9}{'copy':>8}{'ours':>9}{'Keras':>8}")
    for (label, millions, jit), f in results.items():
        print(
            f"{label:14}{millions:3} M {'XLA' if jit else 'graph':6}{1e3 * f.step:11.2f}{1e3 * f.peer:10.2f}"
            f"{f.ratio:9.2f}{f.bandwidth / 1e9:9.1f}{f.share:8.0%}{f.compiling:9.2f}{f.peer_compiling:8.2f}"
        )


def claims(results: dict[tuple[str, int, bool], Figures]) -> None:
    """A line each."""
    print()
    for (label, millions, jit), f in results.items():
        claim(f"(a) {label}, {millions} M, {'XLA' if jit else 'graph'}: ours / Keras", f.ratio, "<=", SLOWER)
    for (label, millions, jit), f in results.items():
        if jit and millions == LARGEST:
            claim(f"(b) {label}, {millions} M, XLA: share of the copy's bandwidth", f.share, ">=", BANDWIDTH)


def claim(name: str, ratio: float, sign: str, target: float) -> None:
    """One line; judged as printed."""
    shown = round(ratio, 2)
    held = shown <= target if sign == "<=" else shown >= target
    print(f"{name:60} {shown:5.2f}  target {sign} {target:.2f}  {'pass' if held else 'SHORT'}")


if __name__ == "__main__":
    print(f"{describe()}\nload {os.getloadavg()[0]:.1f} before it began\n")
    sizes = {"Muon": [1]}  # ten million in matrices this large are seconds of products, and no matter of bandwidth
    cases = [(label, m, jit) for m in STEPS_A_TURN for jit in (False, True) for label in METHODS if m in sizes.get(label, [m])]
    measured = {(label, millions, jit): measure(label, millions, jit=jit) for label, millions, jit in cases}
    table(measured)
    claims(measured)
