"""What a trial costs as more of them share a graph: one form on digits, K from 1 to 1,024 lanes. No claim; it shows the machine.

Command: python -m benchmarks.growth [MOST]     MOST is the largest K
Needs: a GPU, or 2 CPU cores that nobody else uses, 16 GiB; five minutes. It has run on CPUs only.
"""

import os
import sys
import time

import tensorflow as tf

from benchmarks.environment import describe
from benchmarks.searches import DIGITS, study
from tuner import data as sources
from tuner.data import Data
from tuner.lanes import Lanes
from tuner.trial import Trial

EPOCHS, MOST = 10, 1024


def grown(lanes: int, data: Data) -> tuple[float, float]:
    """Seconds until the first epoch of a full pack is over, and the mean of the later ones."""
    methods, activations = DIGITS["search"]["optimizer"], DIGITS["search"]["activation"]
    spec = study(DIGITS, lanes, train={"epochs": EPOCHS, "lanes": lanes})
    engine, begin = Lanes(spec, data, lanes), time.perf_counter()
    for number in range(lanes):
        its = {"optimizer": methods[number % len(methods)], "activation": activations[number % len(activations)]}
        shape = {"depth": 2, "width": 64 - number % 32, "batch_size": 64, "learning_rate": 0.01}
        engine.add(Trial(number, {**shape, **its}, number))
    engine.advance()
    first = time.perf_counter()
    for _ in range(EPOCHS - 1):
        engine.advance()
    return first - begin, (time.perf_counter() - first) / (EPOCHS - 1)


def main() -> None:
    """Print a row for every K."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else MOST
    devices = ", ".join(device.name for device in tf.config.list_logical_devices())
    print(f"{describe()}\n{devices}; load {os.getloadavg()[0]:.1f} before it began\n")
    print(f"{'K':>5}{'first epoch, s':>16}{'later epoch, s':>16}{'ms per trial and epoch':>24}")
    data = sources.load(study(DIGITS, 1).data, 0, [])
    for lanes in (1 << power for power in range(most.bit_length())):
        first, later = grown(lanes, data)
        print(f"{lanes:>5}{first:>16.2f}{later:>16.3f}{1000 * later / lanes:>24.2f}", flush=True)


if __name__ == "__main__":
    main()
