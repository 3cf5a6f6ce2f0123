"""MLflow's own page, in a browser: a study that has ended and one that runs, without anything set up by hand."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import study_spec
from tests.track.studies import MARKS, Mlflow, begin, scored, train
from tuner.store import Claim, Store, Study
from tuner.track import Forwarder
from tuner.trial import Failure, Outcome, State

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, *MARKS]

WAIT = 60_000  # milliseconds that a page may take on a busy machine


def params(number: int) -> dict[str, Any]:
    return {"width": 4 + 2 * number, "optimizer": ("sgd", "adam")[number % 2], "learning_rate": 10 ** (-3 + 0.3 * number)}


ENDS = [
    *(Outcome(State.COMPLETE, value=value) for value in (0.31, 0.62, 0.93, 0.48)),
    Outcome(State.PRUNED, value=0.2, message="after epoch 1"),
    Outcome(State.FAILED, failure=Failure.NON_FINITE, message="loss is nan after epoch 1"),
]
STATES = ["complete"] * 4 + ["pruned", "failed"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path_factory.mktemp('page') / 'tuner.db'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def forwarder(tables: Store, server: str) -> Iterator[Forwarder]:
    with closing(Forwarder(tables, server, Path(tables.url.database or "").parent)) as opened:
        yield opened


@pytest.fixture(scope="module")
def finished(tables: Store, forwarder: Forwarder) -> Study:
    home = Path(tables.url.database or "").parent
    study = scored(tables, "finished", home, [(params(number), outcome) for number, outcome in enumerate(ENDS)])
    forwarder.forward(study.name)
    return study


@pytest.fixture(scope="module")
def running(tables: Store, forwarder: Forwarder) -> tuple[Study, Claim]:
    """A study whose last trials are at work, and the claim of the last of them."""
    study = tables.launch(study_spec(name="running", budget=8), 8, {})
    for number, outcome in enumerate(ENDS):
        claim = begin(tables, study, params(number))
        train(tables, claim, 1)
        train(tables, claim, 2, outcome)
    claim = begin(tables, study, params(6))
    train(tables, claim, 1)
    forwarder.forward(study.name)
    return study, claim


@pytest.fixture(scope="module")
def page(browser: "Browser") -> Iterator["Page"]:
    opened = browser.new_page(viewport={"width": 1800, "height": 1100})
    opened.set_default_timeout(WAIT)
    yield opened
    opened.close()


def visit(page: "Page", address: str) -> None:
    """As if typed in: MLflow's addresses differ behind the #, which alone loads nothing."""
    page.goto("about:blank")
    page.goto(address)


def view(server: str, study: Study, **query: str) -> str:
    """The runs page of a study in the view that was prepared for it."""
    asked = "&".join(f"{key}={value}" for key, value in {"viewStateShareKey": "tuner", **query}.items())
    return f"{server}/#/experiments/{Mlflow(server).experiment(study).experiment_id}/runs?{asked}"


def shown(page: "Page", rows: int) -> dict[int, str]:
    """The state of each trial in the table of runs, whose rows are in two parts: the names, and all else."""
    ids = "new Set([...document.querySelectorAll('[role=row][row-id]')].map(row => row.getAttribute('row-id')))"
    page.wait_for_function(f"rows => {ids}.size >= rows", arg=rows)
    parts: dict[str, str] = {}
    for row in page.locator("[role=row][row-id]").all():
        key = str(row.get_attribute("row-id"))
        parts[key] = f"{parts.get(key, '')} {row.inner_text()}"
    found = (re.search(r"trial (\d+)\b.*\b(complete|pruned|failed|running)\b", text, re.DOTALL) for text in parts.values())
    return {int(match[1]): match[2] for match in found if match}


def test_every_trial_of_a_finished_study_is_in_the_table_with_its_state_and_parameters(
    page: "Page", server: str, finished: Study
) -> None:
    visit(page, view(server, finished))
    assert shown(page, len(ENDS)) == dict(enumerate(STATES))
    for column in ("objective", "width", "optimizer", "learning_rate", "state"):
        assert page.get_by_role("columnheader", name=column, exact=True).count() >= 1
    assert page.get_by_test_id("saved-views-trigger").inner_text() == "Trials"


def test_a_running_study_shows_what_runs_and_then_its_end(
    page: "Page", server: str, tables: Store, forwarder: Forwarder, running: tuple[Study, Claim]
) -> None:
    study, claim = running
    visit(page, view(server, study))
    assert shown(page, 7) == dict(enumerate([*STATES, "running"]))
    train(tables, claim, 2, Outcome(State.COMPLETE, value=0.7))
    forwarder.forward(study.name)
    visit(page, view(server, study))
    assert shown(page, 7) == dict(enumerate([*STATES, "complete"]))


def test_the_charts_draw_curves_and_parallel_coordinates_of_our_parameters(
    page: "Page", server: str, running: tuple[Study, Claim]
) -> None:
    visit(page, view(server, running[0], compareRunsMode="CHART"))
    card = page.get_by_test_id("experiment-view-compare-runs-card")
    curves = card.filter(has_text="val_accuracy").locator(".js-plotly-plot .scatterlayer .trace")
    curves.first.wait_for()
    assert curves.count() >= len(ENDS)
    axes = page.locator(".parcoords .dimension .label")
    axes.first.wait_for(state="attached")
    assert [label[:6] for label in sorted(axes.all_text_contents())] == ["log10 ", "object", "optimi", "width"]
    drawn = "all => all.some(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(value => value))"
    assert page.locator(".parcoords canvas").evaluate_all(drawn)
    for title in ("width vs. objective", "log10 learning_rate vs. objective"):
        card.filter(has_text=title).first.wait_for()


def test_the_progress_of_a_study_is_a_chart_of_its_run(page: "Page", server: str, finished: Study) -> None:
    top = next(run for run in Mlflow(server).runs(finished) if run.info.run_name == finished.name).info
    visit(page, f"{server}/#/experiments/{top.experiment_id}/runs/{top.run_id}/model-metrics")
    line = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="complete").locator(".scatterlayer .trace")
    line.first.wait_for(state="attached")
    assert line.first.locator(".point").count() == len(ENDS)


def test_the_files_of_a_study_open(page: "Page", server: str, finished: Study) -> None:
    top = next(run for run in Mlflow(server).runs(finished) if run.info.run_name == finished.name).info
    visit(page, f"{server}/#/experiments/{top.experiment_id}/runs/{top.run_id}/artifacts")
    page.get_by_text("report.html").first.click()
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="finished").wait_for()
    report.locator(".js-plotly-plot").last.wait_for()
    assert report.locator(".js-plotly-plot").count() > 5
    page.get_by_text("study.toml").first.click()
    page.get_by_text('name = "finished"').first.wait_for()
    page.get_by_text("leaderboard.json").first.click()
    page.get_by_text("learning_rate", exact=True).first.wait_for()


def test_the_winner_is_a_registered_model(page: "Page", server: str, finished: Study) -> None:
    visit(page, f"{server}/#/models/{finished.name}")
    page.get_by_text("Version 1").first.wait_for()
    assert page.get_by_text("champion").count() >= 1
