"""Who a worker is, and whether it lives."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.process import alive, here


def test_a_worker_lives_until_another_process_has_its_number() -> None:
    worker = here()
    assert alive(worker)
    assert not alive(replace(worker, process_started=worker.process_started - 2))
    assert not alive(replace(worker, pid=2**22 + 1))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="what it is compared to is Linux' own")
def test_no_clock_that_is_set_makes_another_process_of_a_worker() -> None:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # since the boot
    assert here().process_started == pytest.approx(ticks / os.sysconf("SC_CLK_TCK"), abs=0.01)


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="only Linux tells its boots apart")
def test_two_hosts_of_one_name_are_two() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    assert boot[:8] in here().host.split()
