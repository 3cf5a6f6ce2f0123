"""Fail-points are named, armed by the command line alone, and each is somewhere on the way."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import REPOSITORY, tuner
from tuner import failpoints
from tuner.errors import BadInput, DatabaseAway


@pytest.mark.parametrize("text", ["nowhere=kill", "claim.committed", "claim.committed=explode", "claim.committed=kill:x"])
def test_what_is_no_fail_point_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInput, match=r"TUNER_FAILPOINT: .* is none; allowed: NAME=kill\|pause\|raise") as refused:
        failpoints.arm(text)
    assert "\n" not in str(refused.value)


def test_the_command_line_arms_its_process(tmp_path: Path) -> None:
    refused = tuner(tmp_path, "list", TUNER_FAILPOINT="nowhere=kill")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("tuner: TUNER_FAILPOINT: 'nowhere=kill' is none; allowed: ")


def test_a_point_acts_once_at_its_count_and_the_first_child_inherits_it() -> None:
    failpoints.arm("claim.committed=raise:2,epoch.trained=kill")
    failpoints.reach("claim.written")
    failpoints.reach("claim.committed")
    with pytest.raises(DatabaseAway):
        failpoints.reach("claim.committed")
    failpoints.reach("claim.committed")
    assert [failpoints.inherited(), failpoints.inherited()] == ["claim.committed=raise:2,epoch.trained=kill", ""]
    failpoints.arm("")
    failpoints.reach("claim.committed")


def test_each_point_is_reached_somewhere_and_no_other() -> None:
    said = "\n".join(path.read_text() for path in sorted((REPOSITORY / "tuner").rglob("*.py")))
    names = re.findall(r'reach\(f?"([^"]+)"\)', said)
    found = [name.replace("{what}", what) for name in names for what in (("epoch", "end") if "{what}" in name else ("",))]
    assert sorted(found) == sorted(failpoints.POINTS)


def test_nothing_is_armed_where_nobody_says_so() -> None:
    code = "from tuner import cli, failpoints; assert not failpoints.inherited(); assert not failpoints._armed"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=REPOSITORY).returncode == 0
