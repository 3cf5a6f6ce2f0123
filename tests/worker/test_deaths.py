"""Children, and whole workers, that hang, die or are killed."""

import sys
from pathlib import Path

import pytest

from tests.conftest import study_spec
from tests.starved import count
from tests.worker.supervising import WIDE, limited, supervisor
from tuner.cgroup import Cgroup
from tuner.errors import ChildDied
from tuner.store import Store
from tuner.trial import Failure, State
from tuner.worker import MAX_DEATHS


def test_a_child_that_hangs_is_killed_and_its_log_says_where(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(enqueue=[{"width": 13}], budget=2)
    study = tables.launch(spec, 2, {})
    hanging = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.hanging"])
    hanging.stall, hanging.group = 1.0, Cgroup(tmp_path)
    hanging.work(lambda: count(tmp_path))  # the kernel kills others meanwhile
    stuck, fine = tables.trials(study)
    assert (stuck.state, stuck.failure, stuck.attempts) == (State.FAILED, Failure.CRASHED, 3)
    assert "killed, as it did nothing for 1 s" in stuck.message
    assert "hanging.py" in stuck.log
    assert fine.state is State.COMPLETE


def test_a_child_that_takes_too_long_to_stop_is_killed_and_its_trial_released(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(enqueue=[{"width": 13}], budget=2), 2, {})
    hanging = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.hanging"])
    hanging.work(lambda: hanging.drain(0.5) if tables.trials(study)[0].params else None)
    row = tables.trials(study)[0]
    assert (row.state, row.crashes, row.attempts) == (State.QUEUED, 0, 1)


def test_a_cancelled_study_ends_its_child_whatever_it_does(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(enqueue=[{"width": 13}], budget=2), 2, {})
    hanging = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.hanging"])
    hanging.ttl = 1.0
    hanging.work(lambda: tables.cancel(study, "enough") if tables.trials(study)[0].params else None)
    assert [row.state for row in tables.trials(study)] == [State.CANCELLED] * 2
    sample, *_ = tables.samples(study, after=0.0, limit=1)
    assert sample.worker == hanging.worker.name
    assert min(sample.usage["system_memory_usage_megabytes"], sample.usage["training_memory_usage_megabytes"]) > 0


def test_a_trial_that_keeps_killing_its_process_fails_and_the_study_goes_on(tables: Store, tmp_path: Path) -> None:
    spec = study_spec(enqueue=[{"width": 13}], budget=3)
    study = tables.launch(spec, 3, {})
    supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.deadly"]).work(lambda: None)
    rows = tables.trials(study)
    assert (rows[0].state, rows[0].failure, rows[0].attempts) == (State.FAILED, Failure.CRASHED, 3)
    assert "killed by SIGKILL" in rows[0].message
    assert [row.state for row in rows[1:]] == [State.COMPLETE, State.COMPLETE]


def test_a_child_that_cannot_begin_ends_the_work_with_its_last_words(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(), 4, {})
    hopeless = supervisor(tables, study, tmp_path, [sys.executable, "-c", "import sys; sys.exit('no such engine')"])
    with pytest.raises(ChildDied, match=r"exit code 1; its last line in .*: no such engine"):
        hopeless.work(lambda: None)
    assert tables.counts(study)[State.QUEUED] == 4


def test_a_child_that_is_killed_for_want_of_memory_before_it_has_a_trial_says_so(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(), 4, {})
    starving = supervisor(tables, study, tmp_path)
    starving.group = limited(tmp_path)
    code = f"from pathlib import Path; from tests.starved import die; die(Path({str(tmp_path)!r}))"
    starving.command = [sys.executable, "-c", code]
    with pytest.raises(
        ChildDied, match=r"killed by the kernel for want of memory, limit 1,229 MiB; its last line in .*: nothing"
    ):
        starving.work(lambda: None)
    assert tables.counts(study)[State.QUEUED] == 4


def test_a_trial_that_kills_the_process_takes_none_of_its_neighbours_with_it(tables: Store, tmp_path: Path) -> None:
    widths = [{"width": 13 if number == 2 else 4 + number} for number in range(9)]
    study = tables.launch(study_spec(enqueue=widths, budget=9), 9, {})
    supervisor(tables, study, tmp_path, WIDE).work(lambda: None)
    rows = tables.trials(study)
    assert [(row.number, row.failure) for row in rows if row.state is not State.COMPLETE] == [(2, Failure.CRASHED)]
    assert rows[2].attempts == 3


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_trial_killed_for_want_of_memory_has_one_more_try_alone_and_its_neighbours_end(
    tables: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, crashes: int
) -> None:
    widths = [{"width": 13 if number == 2 else 4 + number} for number in range(9)]
    study = tables.launch(study_spec(enqueue=widths, budget=9), 9, {})
    for taken in [tables.claim(study, "a", 30.0) for _ in range(4 * crashes)]:
        assert taken is not None
        tables.release(taken[0], crashed=1)
    starving = supervisor(tables, study, tmp_path, [sys.executable, "-m", "tests.starved", str(tmp_path)])
    starving.group = limited(tmp_path)
    starving.work(lambda: None)
    rows = tables.trials(study)
    assert [(row.number, row.failure) for row in rows if row.state is not State.COMPLETE] == [(2, Failure.HOST_OUT_OF_MEMORY)]
    assert [row.attempts for row in rows] == [2 + crashes] * 4 + [1] * 5
    (message,) = rows[2].message.splitlines()
    assert message.startswith(
        "the training process of this trial alone was killed by the kernel for want of memory, limit 1,229 MiB"
    )
    assert starving.group.oom_kills == 2
    assert "4 trials go on alone, as their process was killed by the kernel for want of memory" in caplog.text


def test_a_trial_that_keeps_killing_whole_workers_ends_too(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=3), 3, {})
    for number in range(MAX_DEATHS + 1):  # who dies without a word leaves a lease that runs out
        claimed = tables.claim(study, f"worker {number}", -1.0)
        assert claimed is not None
    assert claimed[1].crashes == MAX_DEATHS
    tables.release(claimed[0])
    supervisor(tables, study, tmp_path).work(lambda: None)
    lost, *others = tables.trials(study)
    assert (lost.state, lost.failure) == (State.FAILED, Failure.CRASHED)
    assert lost.message == "its worker died 6 times without reaching a checkpoint of it; a container's memory may be too small"
    assert all(row.state is State.COMPLETE for row in others)


def test_a_trial_that_workers_die_of_before_it_has_parameters_ends_too(tables: Store, tmp_path: Path) -> None:
    study = tables.launch(study_spec(budget=3, sampler="grid", search={"width": [4, 5], "learning_rate": 0.01}), 3, {})
    for _ in range(MAX_DEATHS):
        with pytest.raises(IndexError):
            supervisor(tables, study, tmp_path).work(lambda: None)
    supervisor(tables, study, tmp_path).work(lambda: None)
    *others, lost = tables.trials(study)
    assert (lost.state, lost.failure, lost.params) == (State.FAILED, Failure.CRASHED, None)
    assert [row.state for row in others] == [State.COMPLETE] * 2
