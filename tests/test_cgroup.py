"""Control groups in folders with the files that kernels write."""

import os
from pathlib import Path

import pytest

from tuner import cgroup
from tuner.cgroup import Cgroup
from tuner.process import processors as processors_of

EVENTS = "low 0\nhigh 0\nmax 512\noom 2\noom_kill 2\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
OLD_CONTROL = "oom_kill_disable 0\nunder_oom 0\n"  # before Linux 4.13
NO_LIMIT = "9223372036854771712\n"


def group(folder: Path, **files: str) -> Cgroup:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)
    return Cgroup(folder)


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"memory_events": EVENTS}, 2),
        ({"memory_events": EVENTS, "memory_events.local": EVENTS.replace("oom_kill 2", "oom_kill 1")}, 1),
        ({"memory_oom_control": CONTROL}, 2),
        ({"memory_oom_control": OLD_CONTROL}, 0),
        ({}, 0),
    ],
)
def test_the_killed_processes_of_a_group_are_counted(tmp_path: Path, files: dict[str, str], kills: int) -> None:
    assert group(tmp_path, **files).oom_kills == kills


@pytest.mark.parametrize(
    ("name", "own", "above", "limit"),
    [
        ("memory_max", "1288490188\n", "max\n", 1288490188),
        ("memory_max", "max\n", "4294967296\n", 4294967296),
        ("memory_max", "max\n", "max\n", None),
        ("memory_limit_in_bytes", "1288490176\n", NO_LIMIT, 1288490176),
        ("memory_limit_in_bytes", NO_LIMIT, NO_LIMIT, None),
    ],
)
def test_the_lowest_limit_on_the_way_up_is_the_limit(tmp_path: Path, name: str, own: str, above: str, limit: int | None) -> None:
    group(tmp_path, **{name: above})
    assert group(tmp_path / "worker", **{name: own}).limit == limit


def test_no_file_is_no_limit(tmp_path: Path) -> None:
    assert Cgroup(tmp_path / "nowhere").limit is None


VERSION_2 = "29 23 0:26 {root} {top} rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
VERSION_1 = """\
31 23 0:28 / {top}/.. rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 {root} {top}/../cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 {root} {top} rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / {top}/../unified rw,relatime - cgroup2 cgroup2 rw
"""
NAMES_1 = "9:name=systemd:{path}\n4:memory:{path}\n2:cpu,cpuacct:{path}\n0::/\n"


@pytest.mark.parametrize(
    ("mounts", "names", "root", "path", "found"),
    [
        (VERSION_2, "0::{path}\n", "/", "/system.slice/tuner.service", "system.slice/tuner.service"),
        (VERSION_2, "0::{path}\n", "/", "/", ""),  # a container with a namespace of groups
        (VERSION_1, NAMES_1, "/", "/docker/4f2a", "docker/4f2a"),
        (VERSION_1, NAMES_1, "/docker/4f2a", "/docker/4f2a", ""),  # a container without one
        (VERSION_1, NAMES_1, "/docker/4f2a", "/docker/4f2a/b:c", "b:c"),
    ],
)
def test_the_group_of_a_process_is_where_its_hierarchy_is_mounted(
    tmp_path: Path, mounts: str, names: str, root: str, path: str, found: str
) -> None:
    top = tmp_path / "memory"
    (tmp_path / "cgroup").write_text(names.format(path=path))
    (tmp_path / "mountinfo").write_text(mounts.format(root=root, top=top))
    assert cgroup.of(tmp_path).folder == top / found


def test_a_process_without_groups_is_in_none_that_says_anything(tmp_path: Path) -> None:
    assert (cgroup.of(tmp_path).oom_kills, cgroup.of(tmp_path).limit) == (0, None)
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text("31 23 0:28 / / rw,relatime - ext4 /dev/vda rw\n")
    assert (cgroup.of(tmp_path).oom_kills, cgroup.of(tmp_path).limit) == (0, None)


@pytest.mark.parametrize(
    ("own", "above", "processors"),
    [
        ({"cpu_max": "150000 100000\n"}, {"cpu_max": "max 100000\n"}, 1.5),
        ({"cpu_max": "max 100000\n"}, {"cpu_max": "400000 200000\n"}, 2.0),
        ({"cpu_max": "max 100000\n"}, {"cpu_max": "max 100000\n"}, None),
        (
            {"cpu_cfs_quota_us": "50000\n", "cpu_cfs_period_us": "100000\n"},
            {"cpu_cfs_quota_us": "-1\n", "cpu_cfs_period_us": "100000\n"},
            0.5,
        ),
        ({}, {}, None),
    ],
)
def test_the_lowest_quota_on_the_way_up_is_the_quota(
    tmp_path: Path, own: dict[str, str], above: dict[str, str], processors: float | None
) -> None:
    group(tmp_path, **above)
    assert group(tmp_path / "worker", **own).processors == processors


def test_a_training_process_has_as_many_processors_as_it_is_told_to_use() -> None:
    assert processors_of({"TF_NUM_INTRAOP_THREADS": "3"}) == 3
    assert 1 <= processors_of({}) <= os.cpu_count()
