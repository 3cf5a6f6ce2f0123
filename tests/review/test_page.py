"""The page of a study and the folder of its report, read by a program; `tests.test_page` opens it in a browser."""

import re
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import study_spec
from tests.review.pages import Page
from tests.review.studies import LAUNCHED, SEARCH, end, ended, launch
from tuner import review as reviews
from tuner.review import Review
from tuner.spec import parse, values
from tuner.store import Store
from tuner.trial import Failure, Outcome, Params, State

HOSTILE = "<script>alert('x')</script> & \"$\\frac$\""


@pytest.fixture(scope="module")
def pages(small_and_large: dict[int, Review]) -> dict[int, str]:
    return {n: reviews.render(review, at=LAUNCHED) for n, review in small_and_large.items()}


def outside_scripts(text: str) -> str:
    return re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("trials", [0, 1, 3, 60])
def test_the_page_is_balanced_complete_and_asks_nothing_of_the_network(pages: dict[int, str], trials: int) -> None:
    text = pages[trials]
    page = Page(text)
    assert page.open == []
    assert all(value.startswith(("#", "data:")) for name in ("src", "href", "action", "srcset") for value in page.all(name))
    assert not re.search(r"@import|url\(", outside_scripts(text))
    assert {"default-src 'none'", "form-action 'none'"} <= set(page.all("content")[-1].split("; "))
    assert "showSendToCloud: false" in text  # Plotly's button for an upload of the data
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {*page.all("data-figure"), *page.all("aria-labelledby"), *(h[1:] for h in page.all("href") if h[0] == "#")} <= set(ids)
    assert len(text) < 10_000_000


def test_the_page_can_be_read_without_seeing_it(pages: dict[int, str]) -> None:
    page = Page(pages[60])
    names = [name for name, _ in page.tags]
    levels = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert {"header", "main", "footer", "nav", "title"} <= set(names)
    assert dict(page.tags)["html"]["lang"] == "en"
    assert all(attributes.get("scope") in ("col", "row") for name, attributes in page.tags if name == "th")
    pictures = [attributes for _, attributes in page.tags if attributes.get("role") == "figure"]
    assert len(pictures) > 10
    assert all(attributes["aria-label"] for attributes in pictures)


def test_the_page_tells_the_best_trial_its_parameters_and_how_far_to_trust_it(
    small_and_large: dict[int, Review], pages: dict[int, str]
) -> None:
    review, page = small_and_large[60], Page(pages[60])
    assert f"Best trial: {review.best.row.number}" in page.text
    assert f"{review.best.value:.5g}" in page.text
    assert f"{review.best.row.params['learning_rate']:.5g}" in page.text  # type: ignore[index]
    assert "optimistic" in page.text
    assert "The test split was not used" in page.text
    assert "non_finite" in page.text
    assert "loss is not finite" in page.text


def test_before_the_first_end_the_page_says_so(pages: dict[int, str]) -> None:
    text = Page(pages[0]).text
    assert "No trial has completed yet" in text
    assert "0 of 2 trials have ended" in text


@pytest.mark.parametrize("outcomes", [[(State.PRUNED, 0.3)] * 3, [(State.FAILED, None)] * 3])
def test_a_study_without_complete_trials_has_a_page(tables: Store, outcomes: list[tuple[State, float | None]]) -> None:
    study = ended(tables, *outcomes)
    text = Page(reviews.render(reviews.load(tables, study), at=LAUNCHED)).text
    assert "No trial has completed yet" in text
    assert ("All failed trials" in text) == (outcomes[0][0] is State.FAILED)


def test_a_trial_that_was_impossible_is_listed_with_its_reason(tables: Store) -> None:
    study = launch(tables, 2)
    end(tables, study, {"width": 4}, [], Outcome(State.PRUNED, message="convolution 2: 5×5 does not fit into 4×4"))
    end(
        tables,
        study,
        {"width": 5},
        [{"val_accuracy": 0.5, "val_loss": 1.0}],
        Outcome(State.PRUNED, value=0.5, message="hopeless"),
    )
    text = Page(reviews.render(reviews.load(tables, study), at=LAUNCHED)).text
    assert "All impossible trials" in text
    assert "convolution 2: 5×5 does not fit into 4×4" in text
    assert "hopeless" not in text


def test_names_messages_and_choices_are_escaped(tables: Store, tmp_path: Path) -> None:
    search = {"kind": [HOSTILE, "</script>"], "size": {"int": [1, 9]}}
    study = launch(tables, 6, name=HOSTILE, model="tests.paper:build", search=search, data=HOSTILE)
    for number in range(5):
        params: Params = {"kind": str(values(study.spec.search["kind"])[number % 2]), "size": number + 1}
        end(tables, study, params, [{"val_accuracy": number / 5}], Outcome(State.COMPLETE, value=number / 5))
    end(tables, study, params, [], Outcome(State.FAILED, failure=Failure.NON_FINITE, message=HOSTILE))
    text = reviews.report(tables, study, tmp_path / "out").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "<script>alert" not in text
    assert page.text.count(HOSTILE) >= 4
    assert len(list((tmp_path / "out" / "plots").glob("contour-*.png"))) == 1  # with the choices on an axis
    assert page.text.count(f"{HOSTILE} 0.8 ") == 1  # its line among the choices
    strip = reviews.plot(reviews.load(tables, study), "choices").parts["choices-kind"]
    assert all("<" not in label for label in strip.layout.yaxis.ticktext)


def test_the_report_is_one_page_and_the_plots_of_this_time(tables: Store, tmp_path: Path) -> None:
    study = ended(tables, (State.COMPLETE, 0.4), (State.COMPLETE, 0.6), (State.COMPLETE, 0.5))
    (tmp_path / "out" / "plots").mkdir(parents=True)
    (tmp_path / "out" / "plots" / "slice-of-another-study.png").write_bytes(b"")
    target = reviews.report(tables, study, tmp_path / "out")
    assert target == tmp_path / "out" / "report.html"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plots", "report.html"]
    stills = {path.stem for path in (tmp_path / "out" / "plots").iterdir()}
    assert stills == {part for kind in reviews.KINDS for part in reviews.plot(reviews.load(tables, study), kind).parts}


def test_plots_have_names_that_every_file_system_takes(tables: Store, tmp_path: Path) -> None:
    search = {"optimizer": ["sam:adam", "sgd"], "A": {"int": [1, 9]}, "a": {"int": [1, 9]}}
    study = launch(tables, 6, model="tests.paper:build", search=search)
    for number in range(6):
        own = {"sam:adam.learning_rate": 0.1 / (number + 1), "sam:adam.beta_1": 0.9 - number / 20, "sam:adam.radius": 0.05}
        params: Params = {"optimizer": "sam:adam", **own, "A": number + 1, "a": 9 - number}
        end(tables, study, params, [{"val_accuracy": number / 6}], Outcome(State.COMPLETE, value=number / 6))
    reviews.report(tables, study, tmp_path)
    names = [path.name for path in (tmp_path / "plots").iterdir()]
    assert any("sam_adam.learning_rate" in name for name in names)
    assert not any(set(name) & set(':/\\<>"|?*') for name in names)
    slices = sorted(name for name in names if name.lower().startswith("slice-a"))
    assert slices in (["slice-A.png", "slice-a-2.png"], ["slice-A-2.png", "slice-a.png"])


@pytest.mark.parametrize(
    "changes",
    [
        {"search": SEARCH, "seed": 7, "pruner": {"name": "asha", "factor": 4}},
        {
            "search": {"width": {"int": [4, 16], "step": 4, "when": {"depth": [2, 3]}}, "depth": [1, 2, 3]},
            "enqueue": [{"depth": 2}],
        },
        {"name": 'a "quoted" näme', "search": {"dropout": {"float": [0.0, 0.5], "step": 0.1}}, "budget": {"target": 1e-7}},
        {"model": "tests.paper:build", "search": {"kind": ["tab\t", 'quote"', "back\\slash", "\x7f", "𝕌"]}},
    ],
)
def test_the_study_file_on_the_page_asks_the_same_question(changes: dict[str, Any]) -> None:
    spec = study_spec(**changes)
    again: Callable[[str], Any] = tomllib.loads
    assert parse(again(reviews.study_file(spec))).identity == spec.identity
