"""A short form of `make soak`: two workers on PostgreSQL, killed at random (P1 to P4)."""

from pathlib import Path

import pytest

from benchmarks.soak import Plan, soak
from tests.faults.history import FAULTS
from tests.faults.life import Cradle
from tuner.store import Store


@pytest.mark.slow
@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_workers_that_are_killed_at_random_end_exactly_the_budget(store: Store, cradle: Cradle, tmp_path: Path) -> None:
    plan = Plan(kills=6, workers=2, trials=12, epochs=60, pause=(0.3, 1.2), pace=0.015, saved=0.05)
    kills, verdict = soak(store.url.render_as_string(), tmp_path, cradle, plan)
    assert kills > 0
    assert verdict == {**dict.fromkeys((*FAULTS, "changed"), 0), "failed": 0, "interrupted": verdict["interrupted"]}
