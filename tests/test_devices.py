"""A worker's devices: which study is next, what is put aside, who is no longer trusted; with real children (`tests.paper`)."""

import os
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.conftest import study_spec
from tuner.devices import SLICE, SUSPECT, Crew, Device, Site, environments, following, gives_way
from tuner.errors import BadInput
from tuner.store import Store, Study
from tuner.trial import Failure, State


def site(home: Path, child: str = "paper") -> Site:
    return Site("host", home, [], 10**9, command=(sys.executable, "-m", f"tests.{child}"))


def crew(store: Store, home: Path, child: str = "paper", count: int = 1) -> tuple[Crew, list[Device]]:
    place = site(home, child)
    made = [Device(store, place, f"cpu {number}", dict(os.environ)) for number in range(count)]
    return Crew(store, place, made), made


def launch(store: Store, name: str, trials: int = 3, **changes: object) -> Study:
    lucky = {"width": {"int": [4, 12]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}}
    return store.launch(study_spec(**{"name": name, "budget": trials, "search": lucky, **changes}), trials, {})


def test_the_next_study_has_the_priority_or_the_smallest_share_or_waited_longest(tables: Store) -> None:
    one, two, three = (launch(tables, name) for name in ("one", "two", "three"))
    assert following([], {}) is None
    assert following([(one, 0), (two, 0)], {}) == one
    assert following([(one, 1), (two, 0)], {}) == two
    assert following([(one, 0), (two, 0), (three, 0)], {one.id: 5.0, two.id: 4.0}) == three
    assert following([(one, 0), (two, 0)], {one.id: 5.0, two.id: 4.0}) == two
    tables.prioritise(one, 1)
    assert following([(tables.study("one"), 9), (two, 0)], {one.id: 5.0}) == tables.study("one")


def test_a_device_gives_way_at_once_to_a_priority_and_after_a_while_to_an_equal_that_is_behind(tables: Store) -> None:
    mine, other = launch(tables, "mine"), launch(tables, "other")
    assert not gives_way((mine, 1), 1, [], served=10 * SLICE)
    assert not gives_way((mine, 1), 1, [(other, 0)], served=SLICE / 2)
    assert gives_way((mine, 1), 1, [(other, 0)], served=SLICE)
    assert gives_way((mine, 4), 1, [(other, 2)], served=SLICE)
    assert not gives_way((mine, 3), 1, [(other, 2)], served=SLICE)  # it would only turn the shares around
    tables.prioritise(other, -1)
    assert not gives_way((mine, 4), 1, [(tables.study("other"), 0)], served=SLICE)
    tables.prioritise(other, 1)
    assert gives_way((mine, 4), 1, [(tables.study("other"), 4)], served=0.0)


def test_studies_are_worked_on_by_priority_and_each_trial_ends_once(store: Store, tmp_path: Path) -> None:
    low, high = launch(store, "low"), launch(store, "high")
    store.prioritise(high, 1)
    workers, _ = crew(store, tmp_path)
    workers.work(until_idle=True)
    first, second = store.trials(high), store.trials(low)
    assert [(row.state, row.fence) for row in first + second] == [(State.COMPLETE, 1)] * 6
    assert max(row.ended or 0.0 for row in first) <= min(row.started or 0.0 for row in second)


@pytest.mark.slow
def test_several_devices_end_exactly_the_budget(store: Store, tmp_path: Path) -> None:
    study = launch(store, "shared", 40, final={"finalists": 3, "seeds": 3})
    workers, both = crew(store, tmp_path, count=2)
    workers.work(until_idle=True)
    rows = store.trials(study)
    assert [(row.number, row.state, row.fence, row.attempts) for row in rows] == [(n, State.COMPLETE, 1, 1) for n in range(40)]
    assert {row.owner for row in rows} <= {device._worker.name for device in both}
    raced, scored = (store.trials(stage) for stage in store.stages(study))
    assert [(row.number, row.state, row.fence, row.attempts) for row in raced] == [(n, State.COMPLETE, 1, 1) for n in range(9)]
    assert [(row.state, row.fence) for row in scored] == [(State.COMPLETE, 1)]
    assert scored[0].checkpoint is not None
    left = [file for file in (tmp_path / "checkpoints").rglob("*") if file.is_file()]
    assert left == [tmp_path / scored[0].checkpoint.path]  # the winner's model


def test_a_study_that_cannot_be_begun_here_holds_up_no_other(tables: Store, tmp_path: Path) -> None:
    bad, good = launch(tables, "unreadable"), launch(tables, "good")
    workers, _ = crew(tables, tmp_path, "unreadable")
    workers.work(until_idle=True)
    assert tables.counts(bad)[State.QUEUED] == 3
    assert tables.counts(good)[State.COMPLETE] == 3
    (seen,) = tables.workers()
    assert seen.worker.message == "unreadable cannot be begun here: data.source: gone"


def test_an_exception_that_nobody_expects_holds_up_no_other_study(
    tables: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = launch(tables, "short", 3, sampler="grid", search={"width": [4, 5], "learning_rate": 0.01})
    good = launch(tables, "good")
    workers, _ = crew(tables, tmp_path)
    workers.work(until_idle=True)
    assert tables.counts(good)[State.COMPLETE] == 3
    *done, third = tables.trials(grid)
    assert [row.state for row in done] == [State.COMPLETE] * 2
    assert (third.state, third.attempts, third.crashes) == (State.QUEUED, 1, 1)
    (seen,) = tables.workers()
    assert seen.worker.message.startswith("short cannot be begun here: IndexError: index 2 is out of bounds")
    assert "Traceback" in caplog.text


def test_a_disk_that_cannot_be_swept_is_reported_and_holds_up_nothing(
    tables: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = launch(tables, "good")
    stuck = tmp_path / study.folder / "other" / "a folder"  # where files are removed
    stuck.mkdir(parents=True)
    os.utime(stuck, (0, 0))
    workers, _ = crew(tables, tmp_path)
    workers.work(until_idle=True)
    assert tables.counts(study)[State.COMPLETE] == 3
    assert "the disk is swept another time: [Errno" in caplog.text


def test_tables_that_cannot_be_read_for_a_sweep_are_reported(
    tables: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tables._write() as connection:
        connection.execute(sa.text("DROP TABLE trial"))
    crew(tables, tmp_path)[0]._sweep()
    assert "the disk is swept another time: " in caplog.text
    assert "no such table: trial" in caplog.text


def test_asked_a_second_time_a_worker_ends_at_once_and_leaves_nothing_running(tables: Store, tmp_path: Path) -> None:
    study = launch(tables, "stuck", search={"width": 13, "learning_rate": {"float": [0.01, 0.1]}})
    workers, _ = crew(tables, tmp_path, "hanging")
    thread = threading.Thread(target=lambda: workers.work(until_idle=False))
    thread.start()
    while tables.trials(study)[0].params is None:
        thread.join(0.05)
    workers.drain(3600.0)  # that is how long it would wait for its child
    workers.drain(0.0)
    thread.join()
    assert (tables.counts(study)[State.QUEUED], tables.trials(study)[0].crashes) == (3, 0)


def test_a_device_on_which_everything_fails_is_quarantined_only_if_others_succeed(tables: Store, tmp_path: Path) -> None:
    unlucky = {"search": {"width": 13, "learning_rate": {"float": [0.01, 0.1]}}}
    study = launch(tables, "burnt", 8, **unlucky)
    workers, _ = crew(tables, tmp_path)
    workers.work(until_idle=True)
    assert tables.counts(study)[State.FAILED] == 8  # it is the study's fault
    assert not workers.quarantined
    workers, _ = crew(tables, tmp_path)
    good = launch(tables, "good", 2)
    workers.work(until_idle=True)
    study = tables.extend(good, 10)
    workers, _ = crew(tables, tmp_path, "broken")
    workers.work(until_idle=True)
    assert workers.quarantined == [f"quarantined: {SUSPECT} trials of good in a row failed here, others succeeded"]
    counts = tables.counts(study)
    assert (counts[State.FAILED], counts[State.QUEUED]) == (SUSPECT, 10 - SUSPECT)
    assert {row.failure for row in tables.trials(study, states=[State.FAILED])} == {Failure.ERROR}
    assert workers.quarantined == [seen.worker.message for seen in tables.workers() if seen.worker.message]


def test_failures_of_one_study_are_not_held_against_a_device_at_the_next(tables: Store, tmp_path: Path) -> None:
    good = launch(tables, "good", 1)
    crew(tables, tmp_path)[0].work(until_idle=True)
    good = tables.extend(good, 2)
    burnt = launch(tables, "burnt", SUSPECT + 1, search={"width": 13, "learning_rate": {"float": [0.01, 0.1]}})
    tables.prioritise(burnt, 1)
    workers, _ = crew(tables, tmp_path)
    workers.work(until_idle=True)
    assert not workers.quarantined
    assert (tables.counts(burnt)[State.FAILED], tables.counts(good)[State.COMPLETE]) == (SUSPECT + 1, 3)


def test_what_succeeded_on_the_device_itself_is_no_reason_to_distrust_it(tables: Store, tmp_path: Path) -> None:
    widths = [{"width": 4}, *[{"width": 13}] * (SUSPECT + 1)]
    study = launch(tables, "half", len(widths), enqueue=widths, search={"width": [4, 13], "learning_rate": 0.01})
    workers, _ = crew(tables, tmp_path)
    workers.work(until_idle=True)
    assert not workers.quarantined
    assert (tables.counts(study)[State.COMPLETE], tables.counts(study)[State.FAILED]) == (1, SUSPECT + 1)


def test_devices_are_numbers_of_visible_gpus_or_the_processor() -> None:
    base = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    assert environments("cpu", {"A": "b"}) == {"cpu": {"A": "b", "CUDA_VISIBLE_DEVICES": "-1"}}
    for wrong in ("tpu", "0,0", "", "1,x", "-1"):
        with pytest.raises(BadInput, match=r"--devices: .* is none; write cpu, gpu"):
            environments(wrong, base)


@pytest.mark.slow
def test_without_gpus_the_processor_is_the_device() -> None:
    base = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    assert list(environments("auto", base)) == ["cpu"]
    for wanted in ("gpu", "0"):
        with pytest.raises(BadInput, match="TensorFlow sees 0 GPUs here"):
            environments(wanted, base)
