"""Control groups: how much memory and time the kernel lets processes have, and how many it has killed for want of memory.

A group is a folder, in version 2 with `memory.events`, `memory.max` and `cpu.max`, in version 1 with `memory.oom_control` and
`memory.limit_in_bytes`, or `cpu.cfs_quota_us`. A process is in the group of who started it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

KILLS = ("memory.events.local", "memory.events", "memory.oom_control")  # the first that there is; `local`: not in groups below
LIMITS = ("memory.max", "memory.limit_in_bytes")
UNLIMITED = 2**60  # bytes; version 1 has a number above it where there is no limit


@dataclass(frozen=True)
class Cgroup:
    """A group, by its folder."""

    folder: Path

    @property
    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory; 0 where it does not say."""
        file = next((file for name in KILLS if (file := self.folder / name).exists()), None)
        counts = dict(line.split() for line in file.read_text().splitlines()) if file is not None else {}
        return int(counts.get("oom_kill", 0))

    @property
    def limit(self) -> int | None:
        """The bytes that it may have, by its own limit or a lower one above it; None where there is none."""
        told = [file.read_text().strip() for group in self._line for name in LIMITS if (file := group / name).exists()]
        lowest = min((int(limit) for limit in told if limit != "max"), default=UNLIMITED)
        return lowest if lowest < UNLIMITED else None

    @property
    def processors(self) -> float | None:
        """As many as whose time it may use, by its own quota or a lower one above it; None where there is none."""
        told = [quota for group in self._line if (quota := _quota(group)) is not None]
        return min(told, default=None)

    @property
    def _line(self) -> tuple[Path, ...]:
        """It and those above it."""
        return (self.folder, *self.folder.parents)


def _quota(group: Path) -> float | None:
    """The microseconds of processors in each period, in processors."""
    if (file := group / "cpu.max").exists():
        quota, period = file.read_text().split()
    elif (file := group / "cpu.cfs_quota_us").exists():
        quota, period = file.read_text().strip(), (group / "cpu.cfs_period_us").read_text().strip()
    else:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def of(process: Path = Path("/proc/self"), controller: str = "memory") -> Cgroup:
    """The group that decides on the memory of a process, or on its time ("cpu"); the process is given by its folder in /proc.

    A container may see a part of the tree alone, with its own group at the top. Where there are no groups it is a folder without
    such files.
    """
    if not (process / "cgroup").exists():
        return Cgroup(process)
    groups = dict(line.split(":", 2)[1:] for line in (process / "cgroup").read_text().splitlines())
    controllers = next((names for names in groups if controller in names.split(",")), "")  # version 2 has no names there
    for line in (process / "mountinfo").read_text().splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if (kind == "cgroup" and controller in options.split(",")) if controllers else kind == "cgroup2":
            root, point = mount.split()[3:5]
            return Cgroup(Path(point) / os.path.relpath(groups[controllers], root))
    return Cgroup(process)
