"""What a trained network costs where it is used (`tuner.spec.aims.COSTS`), as far as a study asks for it.

`parameters` and `model_bytes` follow from the plan of a network; those of a user's own are counted. `latency_ms` is measured in
the training process when the trial has trained: the median of 50 predictions of one row, in ms, from the normalised row to what
the network returns, in a TensorFlow graph on the processor, without XLA. Meanwhile every thread of the process is held to one
core, as if it had one thread; only Linux can do that, elsewhere TensorFlow takes as many threads as it likes. What is measured
is the trial's network alone, built anew: what a prediction takes does not depend on the values of the weights, and so a trial
of a pack is measured like any other. It varies from machine to machine and a little from time to time; compare what was
measured on one.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import keras
import tensorflow as tf

from tuner.data import Facts
from tuner.objective import precision
from tuner.space import Space
from tuner.trial import Params

PREDICTIONS, WARM_UP = 50, 10


def costs(space: Space, params: Params, facts: Facts, fresh: Callable[[], keras.Model]) -> dict[str, float]:
    """The costs of a trial that its study asks for; `fresh` builds its network, [B, ...] -> [B, C], where that is needed."""
    wanted = space.spec.costs
    known = space.costs(params, facts.input_shape, facts.outputs) if wanted else {}
    if not known.keys() >= set(wanted):
        with tf.device("CPU:0"), precision(space.spec):
            network = fresh()
            known = {**_counted(network), **known}
            if "latency_ms" in wanted:
                known["latency_ms"] = latency(network, facts.input_shape)
    return {name: known[name] for name in wanted}


def _counted(network: keras.Model) -> dict[str, float]:
    kept = [variable for variable in network.variables if keras.backend.is_float_dtype(variable.dtype)]
    return {
        "parameters": sum(math.prod(variable.shape) for variable in network.trainable_variables),
        "model_bytes": 4 * sum(math.prod(variable.shape) for variable in kept),
    }


def latency(network: keras.Model, input_shape: tuple[int, ...]) -> float:
    """The median time of a prediction of one row, in ms."""
    predict = tf.function(lambda row: network(row, training=False), autograph=False)
    compiled = predict.get_concrete_function(tf.TensorSpec([1, *input_shape], tf.float32))
    row, taken = tf.zeros([1, *input_shape]), []
    with _one_core():
        for _ in range(WARM_UP + PREDICTIONS):
            begin = time.perf_counter()
            compiled(row).numpy()
            taken.append(time.perf_counter() - begin)
    return 1000 * median(taken[WARM_UP:])


@contextmanager
def _one_core() -> Iterator[None]:
    """Hold the threads of this process to one of its cores."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    _hold({min(before)})
    try:
        yield
    finally:
        _hold(before)  # threads that were born meanwhile too


def _hold(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(thread.name), cores)
