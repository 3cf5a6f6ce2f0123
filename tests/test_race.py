"""The race after a search, in real processes without TensorFlow: who is in it, who is dropped, what is scored, what is kept."""

import hashlib
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimizers import FAMILIES
from tests import histories
from tests.conftest import study_spec
from tests.racing import luck
from tuner import failpoints, interval, race, verdict
from tuner.spec import MAX_TRIALS
from tuner.store import Stage, Store, Study
from tuner.sweep import sweep
from tuner.track import told
from tuner.track.door import TAG_LENGTH, Door, model_name
from tuner.trial import State, trial_seed
from tuner.worker import Supervisor

RACING = [sys.executable, "-m", "tests.racing"]
# By `tests.paper.accuracy` a width of 11 is worth 0.0022 less than 12, which is twice what luck is worth.
MORE = FAMILIES["adaptive"] + FAMILIES["descent"][1:] + FAMILIES["proximal"]  # methods that shall not be seen to complete a trial
FIELD: dict[str, Any] = {"search": {"width": {"int": [4, 16]}, "learning_rate": 0.03}, "final": {"finalists": 3, "seeds": 6}}


def launch(tables: Store, widths: list[int], **changes: Any) -> Study:
    enqueued = [{"width": width} for width in widths]
    spec = study_spec(**{**FIELD, "enqueue": enqueued, "budget": len(widths), **changes})
    return tables.launch(spec, spec.budget.trials, {})


def work(tables: Store, study: Study, home: Path, command: list[str] | None = None, *, until: Stage | None = None) -> None:
    """To the end of the race, or to the beginning of a stage."""
    stage: Study | None = study
    while stage is not None and stage.stage is not until:
        working = Supervisor(tables, stage, home, [], dict(os.environ))
        working.command = command or RACING
        working.work(lambda: None)
        stage = tables.next(stage)


@pytest.fixture
def raced(tables: Store, tmp_path: Path) -> Study:
    """Of five trials two have the same configuration, so that of four the best three are finalists: widths 12, 11 and 6."""
    study = launch(tables, [6, 12, 4, 12, 11])
    work(tables, study, tmp_path)
    return study


def test_the_best_distinct_configurations_race_on_fresh_seeds_common_to_all(tables: Store, raced: Study) -> None:
    stage = tables.next(raced)
    assert stage is not None
    rows = tables.trials(stage)
    searched = {row.number: row for row in tables.trials(raced)}
    assert stage.facts["searched"] == [searched[number].value for number in stage.facts["finalists"]]
    assert sorted(searched[number].params["width"] for number in stage.facts["finalists"]) == [6, 11, 12]  # type: ignore[index]
    seeds = [race.seed_of(stage, row.number) for row in rows]
    assert seeds == [seed for seed in seeds[::3] for _ in range(3)]
    assert not set(seeds) & {trial_seed(0, number) for number in range(MAX_TRIALS)}
    for row in rows:
        if row.state is State.COMPLETE:
            assert row.params is not None
            width = float(row.params["width"])
            assert row.value == pytest.approx((1 - (width - 12) ** 2 / 400) * (1 - 0.5**3) + luck(width, seeds[row.number]))
            assert row.epoch == 3


def test_the_winner_has_an_interval_and_is_scored_once(tables: Store, raced: Study) -> None:
    found = race.result(tables, raced)
    assert found is not None
    assert found.winner is not None
    assert found.winner.params["width"] == 12
    assert found.winner.interval == interval.of_winner(np.array(found.winner.values), 3, maximise=True)
    assert len(found.winner.values) == 6
    last = found.finalists[-1]
    assert (last.params["width"], last.fate) == (6, "dropped")
    assert 3 <= len(last.values) < 6
    assert last.interval == interval.of_mean(np.array(last.values))
    assert found.score is not None
    fresh = luck(12, trial_seed(0, MAX_TRIALS + 6))
    assert found.score.value == pytest.approx(1 - 0.5**3 + fresh)
    assert found.score.interval == pytest.approx((0.775 + fresh, 0.975 + fresh))
    assert (found.score.metric, found.score.epochs, found.looks) == ("test_accuracy", 3, 1)
    stages = tables.stages(raced)
    assert [(stage.stage, stage.spec.pruner.name, stage.followed) for stage in stages] == [
        (Stage.RACE, "none", True), (Stage.TEST, "none", True)
    ]  # fmt: skip
    assert stages[1].facts["full"] == 3


def test_the_winner_that_was_scored_is_kept_and_nothing_else(tables: Store, tmp_path: Path, raced: Study) -> None:
    found = race.result(tables, raced)
    assert found is not None
    assert found.score is not None
    assert (model := found.score.model) is not None
    assert model.epoch == 3
    assert hashlib.sha256((tmp_path / model.path).read_bytes()).hexdigest() == model.sha256
    assert [file for file in (tmp_path / "checkpoints").rglob("*") if file.is_file()] == [tmp_path / model.path]
    sweep(tables, tmp_path, 0, now=2e10)
    assert (tmp_path / model.path).exists()


def test_a_child_that_dies_after_it_wrote_the_winner_loses_nothing(tables: Store, tmp_path: Path) -> None:
    study = launch(tables, [12], final={"finalists": 1, "seeds": 3})
    work(tables, study, tmp_path, until=Stage.TEST)
    stage = tables.stages(study)[-1]
    failpoints.arm("checkpoint.written=kill")
    try:
        work(tables, stage, tmp_path)
    finally:
        failpoints.arm("")
    (row,) = tables.trials(stage)
    assert (row.state, row.attempts) == (State.COMPLETE, 2)
    assert row.checkpoint is not None
    assert [file for file in (tmp_path / "checkpoints").rglob("*") if file.is_file()] == [tmp_path / row.checkpoint.path]


def test_the_search_knows_nothing_of_its_race(tables: Store, raced: Study) -> None:
    assert tables.counts(raced)[State.COMPLETE] == len(tables.trials(raced)) == 5
    best = tables.leaders(raced, 1)[0]
    assert best.params is not None
    assert best.params["width"] == 12
    assert best.value == max(row.value or 0.0 for row in tables.trials(raced))
    assert [study.id for study in tables.studies()] == [raced.id]


def test_a_race_whose_finalists_are_alike_ends_in_a_tie(tables: Store, tmp_path: Path) -> None:
    search = {"width": [12], "optimizer": ["sgd", "adam"], "learning_rate": 0.03}
    study = launch(tables, [], search=search, enqueue=[{"optimizer": "sgd"}, {"optimizer": "adam"}], budget=2)
    work(tables, study, tmp_path)
    found = race.result(tables, study)
    assert found is not None
    assert [one.fate for one in found.finalists] == ["winner", "tie"]


def test_the_best_of_each_value_that_is_ranked_is_raced_on_all_seeds(tables: Store, tmp_path: Path) -> None:
    search = {"width": {"int": [4, 16]}, "optimizer": ["sgd", "adam", "lion", *MORE], "learning_rate": 0.03}
    tried = [("sgd", 11), ("sgd", 12), ("sgd", 12), ("adam", 4), ("adam", 5), *((optimizer, 13) for optimizer in ("lion", *MORE))]
    enqueued = [{"optimizer": optimizer, "width": width} for optimizer, width in tried]
    study = launch(tables, [], search=search, enqueue=enqueued, budget=len(tried), rank="optimizer", final={"seeds": 6})
    work(tables, study, tmp_path)
    found = race.result(tables, study)
    assert found is not None
    told = [(one.value, one.params["width"], one.fate, one.places, len(one.values)) for one in found.finalists]
    assert told == [("sgd", 12, "winner", (1, 1), 6), ("adam", 5, "behind", (2, 2), 6)]
    assert (found.ranked, found.absent) == ("optimizer", ["lion", *MORE])
    first, second = verdict.ranking(found)
    assert (first.split()[:2], second.split()[:2]) == (["1", "sgd"], ["2", "adam"])
    assert verdict.lines(found)[1] == f"not in the race, as no trial of it was complete: {', '.join(['lion', *MORE])}"


def test_who_fails_on_a_fresh_seed_is_out_and_if_all_do_nothing_is_scored(tables: Store, tmp_path: Path) -> None:
    study = launch(tables, [16, 4], name="one")
    work(tables, study, tmp_path)
    found = race.result(tables, study)
    assert found is not None
    told = [(one.params["width"], one.fate, one.reason) for one in found.finalists]
    assert told == [(4, "winner", ""), (16, "failed", "val_accuracy is nan after epoch 1")]
    stage = tables.next(study)
    assert stage is not None
    counts = tables.counts(stage)
    assert (counts[State.FAILED], counts[State.PRUNED], counts[State.COMPLETE]) == (1, 5, 6)
    study = launch(tables, [16], name="none")
    work(tables, study, tmp_path)
    found = race.result(tables, study)
    assert found is not None
    assert (found.winner, found.score, found.looks, tables.waiting()) == (None, None, 0, [])


def test_an_extended_study_races_anew_and_says_how_often_it_looked_at_the_test(tables: Store, tmp_path: Path) -> None:
    study = launch(tables, [12, 4], final={"finalists": 1, "seeds": 3})
    work(tables, study, tmp_path)
    longer = tables.extend(study, 1)
    assert race.result(tables, longer) is None
    work(tables, longer, tmp_path)
    found = race.result(tables, longer)
    assert found is not None
    assert (found.runs, found.looks) == (3, 2)


def test_a_study_without_a_complete_trial_has_no_race(tables: Store, tmp_path: Path) -> None:
    study = launch(tables, [13])
    work(tables, study, tmp_path)
    assert (race.result(tables, study), tables.waiting()) == (None, [])


def test_the_length_of_the_winner_is_the_median_of_its_best_epochs(tables: Store, raced: Study) -> None:
    stage = tables.next(raced)
    assert stage is not None
    rows, epochs = tables.trials(stage), tables.epochs(stage)
    for number, row in enumerate(rows):
        for epoch in epochs.get(row.number, []):
            peak = 1 if number < 6 else 2
            epoch.metrics["val_accuracy"] = 1.0 if epoch.epoch == peak else math.nan  # type: ignore[index]
    plan = race.following(stage, rows, epochs)
    assert plan is not None
    assert (plan.stage, plan.spec.train.epochs, plan.facts["full"], len(plan.params)) == (Stage.TEST, 2, 3, 1)


@pytest.mark.usefixtures("environment")
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning")  # as in test_track
def test_a_winner_can_be_registered_whatever_its_study_is_called(tmp_path: Path) -> None:
    door = Door(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for name in ("what's best", "a/b:c", 'say "yes"', "a\\b", "100 %", "größer"):
        assert not door.registered(model_name(name), "sha256", "0")
        assert not door.registered(model_name(name), "sha256", "0")  # now that there is a model of this name


def test_what_a_race_of_many_values_says_fits_into_a_tag() -> None:
    found = replace(histories.raced([0.7, 0.8, 0.9]), ranked="kind", absent=[f"a value with a long name {n}" for n in range(900)])
    tags, _ = told.winner(histories.history([]).study, found, 0)
    assert tags["race"].startswith("winner: ")
    assert len(tags["race"]) == TAG_LENGTH
