"""Two studies of one question: what is set side by side, and when a difference is called more than chance."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.histories import Past, history, raced, scored
from tests.review.studies import ended
from tuner import interval
from tuner import review as reviews
from tuner.cli import app
from tuner.errors import BadInput
from tuner.review import Review, beside
from tuner.spec import parse
from tuner.store import Store
from tuner.trial import State

SEEDS = [0.901, 0.905, 0.898, 0.902, 0.904]


def searched(name: str, values: list[float], **changes: Any) -> Review:
    return history([Past({"width": 8, "learning_rate": 0.01, "optimizer": "adam"}, [v]) for v in values], name=name, **changes)


def test_the_difference_of_two_winners_covers_the_truth_as_often_as_it_says() -> None:
    rng, missed, claimed = np.random.default_rng(0), 0, 0
    for _ in range(1_500):  # five equal finalists on the left, three on the right, of different spread
        x_FS, y_FS = rng.normal(0, 1, (5, 5)), rng.normal(0, 2, (3, 5))
        found = interval.of_difference(x_FS[x_FS.mean(1).argmax()], y_FS[y_FS.mean(1).argmax()], (5, 3), maximise=True)
        assert found is not None
        missed += not found[0] <= 0 <= found[1]
        mirrored = interval.of_difference(-x_FS[x_FS.mean(1).argmax()], -y_FS[y_FS.mean(1).argmax()], (5, 3), maximise=False)
        assert mirrored == pytest.approx((-found[1], -found[0]))
        naive = interval.of_difference(x_FS[x_FS.mean(1).argmax()], y_FS[0], (1, 1), maximise=True)
        assert naive is not None
        claimed += naive[0] > 0
    assert missed / 1_500 <= 0.05
    assert claimed / 1_500 > 0.05  # what leaving the choice of the best out of account would do


def test_two_scores_differ_as_two_shares_do() -> None:
    """Newcombe 1998, "Interval estimation for the difference between independent proportions", example (a): 56/70 and 48/80."""
    x, y = 56 / 70, 48 / 80
    low, high = interval.of_scores(x, interval.of_share(x, 70), y, interval.of_share(y, 80))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_race_far_ahead_is_beyond_chance_and_a_close_one_is_not() -> None:
    a = searched("a", [0.9], race=raced(SEEDS))
    far = reviews.compare(a, searched("b", [0.9], race=raced([value - 0.05 for value in SEEDS])))
    (by_race,) = far.differences
    assert (by_race.by, by_race.beyond_chance, by_race.value) == ("race", True, pytest.approx(0.05))
    assert far.lead(by_race).endswith("a is better than b")
    close = reviews.compare(a, searched("b", [0.9], race=raced([value - 0.001 for value in SEEDS])))
    assert not close.differences[0].beyond_chance
    assert "no more than chance" in close.lead(close.differences[0])


def test_of_a_loss_the_lower_one_is_ahead() -> None:
    loss = {"objective": "val_loss"}
    a = searched("a", [0.9], race=raced(SEEDS), **loss)
    found = reviews.compare(a, searched("b", [0.9], race=raced([value - 0.05 for value in SEEDS]), **loss))
    assert found.lead(found.differences[0]).endswith("b is better than a")


def test_on_other_rows_a_race_says_nothing_and_the_test_split_does() -> None:
    a = searched("a", [0.9], race=raced(SEEDS, score=scored(0.9, 0.88, 0.92)))
    b = searched("b", [0.8], race=raced([0.7, 0.71, 0.72], score=scored(0.7, 0.68, 0.72)), seed=5)
    found = reviews.compare(a, b)
    assert [(d.by, d.beyond_chance) for d in found.differences] == [("test", True)]
    assert any("rows of validation and test" in line for line in found.cautions)


def test_without_a_race_the_best_so_far_are_compared_at_equal_trials_and_equal_seconds() -> None:
    pruned = Past({"width": 4}, [0.95], State.PRUNED)
    failed = Past({"width": 4}, [0.1], State.FAILED)
    a = history([Past({"width": 4}, [0.5, 0.4]), pruned, failed, Past({"width": 4}, [0.7])], name="a")
    b = searched("b", [0.3, 0.6])
    found = reviews.compare(a, b)
    assert [(s.trials, s.seconds, s.best) for s in found.sides[0].curve] == [(1, 4, 0.5), (2, 6, 0.5), (3, 8, 0.5), (4, 10, 0.7)]
    assert [(e.amount, e.of, e.values) for e in found.equal] == [
        (1, "trials", (0.5, 0.3)),
        (2, "trials", (0.5, 0.6)),
        (1, "seconds", (None, None)),
        (2, "seconds", (None, 0.3)),
        (4, "seconds", (0.5, 0.6)),
    ]
    assert found.differences == []
    assert "cannot be said" in beside.verdicts(found)[0]
    assert any(line.startswith("a and b had no final race") for line in found.cautions)


def test_what_the_files_say_otherwise_is_listed() -> None:
    wide = {"width": {"int": [4, 64]}, "learning_rate": {"float": [1e-3, 1e-1], "log": True}, "depth": 2}
    found = reviews.compare(searched("a", [0.9]), searched("b", [0.8], search=wide, sampler="tpe"))
    assert found.settings == {
        "sampler.name": ('"random"', '"tpe"'),
        "search.width": ("{int = [4, 16]}", "{int = [4, 64]}"),
        "search.optimizer": ('["sgd", "adam"]', None),
        "search.depth": (None, "2"),
    }


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"objective": "val_loss"}, "objective.metric is val_accuracy in one and val_loss in the other"),
        ({"data": "iris"}, "data.source is digits in one and iris in the other"),
        ({"name": "a"}, "a study is not compared with itself"),
    ],
)
def test_studies_of_different_questions_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        reviews.compare(searched("a", [0.9]), searched(**{"name": "b", "values": [0.8], **changes}))


def test_the_page_has_every_plot_and_what_a_program_reads_is_json(tmp_path: Path) -> None:
    a = searched("a & b", [0.5, 0.9], race=raced(SEEDS, score=scored(0.9, 0.88, 0.92)))
    found = reviews.compare(a, searched("<b>", [0.8, 0.85]))
    page = beside.write(found, tmp_path).read_text()
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        f"compare-{name}.png" for name in ("race", "seconds", "trials")
    ]
    assert "a &amp; b and &lt;b&gt;" in page
    assert "<b>" not in page.partition("<main>")[2].partition("</main>")[0]
    told = json.loads(json.dumps(beside.told(found)))
    assert told["studies"][0]["race"]["values"] == SEEDS
    assert told["differences"] == []


# The commands ------------------------------------------------------------


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder with two studies, `a` and `b`, the later trials of which are the better ones."""
    tables = Store(f"sqlite:///{tmp_path / 'tuner.db'}")
    tables.migrate()
    for name in ("a", "b"):
        ended(tables, *((State.COMPLETE, 0.5 + 0.01 * i) for i in range(24)), name=name)
    tables.close()
    return tmp_path


def said(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--db", str(folder)], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_compare_prints_both_and_writes_a_page(studies: Path) -> None:
    text = said(studies, "compare", "a", "b", "--out", str(studies / "page"))
    assert "0.73 (trial 23)" in text
    assert "budget" not in text  # the files say the same
    assert (studies / "page" / "compare.html").exists()
    told = json.loads(said(studies, "compare", "a", "b", "--json"))
    assert [one["study"] for one in told["studies"]] == ["a", "b"]


def test_tune_more_prints_what_it_suggests_and_writes_a_study_that_nobody_has(studies: Path) -> None:
    target = studies / "next.toml"
    text = said(studies, "tune-more", "a", "--out", str(target))
    assert "- search 48 trials instead of 24" in text
    spec = parse(tomllib.loads(target.read_text()))
    assert (spec.name, spec.budget.trials, spec.enqueue[0]["width"]) == ("next", 48, 24)
    told = json.loads(said(studies, "tune-more", "a", "--json"))
    assert all(one["evidence"] for one in told["suggestions"])
    for taken, problem in (
        (target, "is there already"),
        (studies / "b.toml", "a study 'b'"),
        (studies / "no" / "x.toml", "no folder"),
    ):
        with pytest.raises(BadInput, match=problem):
            said(studies, "tune-more", "a", "--out", str(taken))


def test_an_extra_that_is_missing_is_told_with_how_to_install_it(studies: Path) -> None:
    code = """
import sys
from tuner.cli import main
sys.modules.update(optuna_dashboard=None, tensorboard=None)
for command in (["dashboard", "a"], ["report", "a", "--tensorboard", "x"]):
    sys.argv[1:] = [*command, "--db", {folder!r}]
    try:
        main()
    except SystemExit as end:
        print(end.code)
"""
    arguments = [sys.executable, "-c", code.format(folder=str(studies))]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "2\n2\n", done.stderr
    assert done.stderr.splitlines() == [
        "tuner: optuna-dashboard is not installed: pip install 'keras-lanes-tuner[dashboard]'",
        "tuner: TensorBoard is not installed: pip install 'keras-lanes-tuner[tensorboard]'",
    ]
