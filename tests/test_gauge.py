"""How busy a host and a process are."""

import os
import subprocess
import sys

import psutil

from tuner.gauge import Gauge

HOST = {"cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage"}
TRAINING = {"training_cpu_utilization_percentage", "training_memory_usage_megabytes"}


def test_a_host_is_told_of_with_its_training_process_as_long_as_there_is_one() -> None:
    gauge, hidden = Gauge({"CUDA_VISIBLE_DEVICES": "-1"}), subprocess.Popen([sys.executable, "-c", ""])
    assert gauge.read().keys() == HOST
    gauge.watch(os.getpid())
    told = gauge.read()
    assert told.keys() == HOST | TRAINING
    assert told["training_cpu_utilization_percentage"] > 0  # all that this process has used stands for a moment
    resident = psutil.Process().memory_info().rss / 1e6
    assert told["training_memory_usage_megabytes"] >= 0.5 * resident
    gauge.watch(hidden.pid)
    hidden.wait()
    assert gauge.read().keys() == HOST
