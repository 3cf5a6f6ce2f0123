"""What a study suggests, on histories with an answer that is known: it is found, and nothing else is."""

import tomllib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.histories import Past, history, raced
from tuner.review import Review, advice, sequel
from tuner.review.advice import advise
from tuner.spec import Fixed, FloatRange, IntRange, parse, values
from tuner.trial import State, Value

SEARCH: dict[str, Any] = {
    "width": {"int": [16, 256], "log": True},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "dropout": {"float": [0.0, 0.5]},
    "activation": ["relu", "tanh", "gelu"],
    "optimizer": ["sgd", "adam", "lion"],
    "adam.beta_1": {"float": [0.8, 0.99]},
}
Worth = Callable[[dict[str, Value]], float]


def flat(_params: dict[str, Value]) -> float:
    return 0.0


def drawn(rng: np.random.Generator) -> dict[str, Value]:
    optimizer = str(rng.choice(["sgd", "adam", "lion"]))
    return {
        "width": int(2 ** rng.uniform(4, 8)),
        "learning_rate": float(10 ** rng.uniform(-4, -1)),
        "dropout": float(rng.uniform(0, 0.5)),
        "activation": str(rng.choice(["relu", "tanh", "gelu"])),
        "optimizer": optimizer,
        **({"adam.beta_1": float(rng.uniform(0.8, 0.99))} if optimizer == "adam" else {}),
    }


def searched(worth: Worth, trials: int = 120, seed: int = 0, noise: float = 0.01, **changes: Any) -> Review:
    """Random trials; of those after the tenth the ones below the median so far are pruned."""
    rng = np.random.default_rng(seed)
    past = []
    for number in range(trials):
        params = drawn(rng)
        value = 0.5 + worth(params) + float(rng.normal(0, noise))
        state = State.PRUNED if number > 10 and past and value < np.median([one.curve[0] for one in past]) else State.COMPLETE
        past.append(Past(params, [value], state))
    return history(past, **{"search": SEARCH, "train": {"epochs": 1}, **changes})


def found(review: Review) -> dict[str, Any]:
    return {one.key: one.change for one in advise(review).suggestions}


def of_parameters(review: Review) -> dict[str, Any]:
    return {key: change for key, change in found(review).items() if key.startswith("search.")}


def rate(params: dict[str, Value]) -> float:
    return float(np.log10(float(params["learning_rate"])))


def test_a_bound_that_the_best_lie_at_is_widened_in_its_direction() -> None:
    up = of_parameters(searched(lambda p: 0.1 * rate(p)))
    assert up["search.learning_rate"] == FloatRange(float=(1e-4, 3.2), log=True)
    down = of_parameters(searched(lambda p: -0.1 * rate(p)))
    assert down["search.learning_rate"] == FloatRange(float=(3.1e-6, 1e-1), log=True)
    assert up.keys() == down.keys() == {"search.learning_rate"}


def test_a_bound_that_cannot_be_passed_is_told_and_not_widened() -> None:
    said = advise(searched(lambda p: -0.5 * float(p["dropout"])))
    (one,) = (one for one in said.suggestions if one.key == "search.dropout")
    assert one.says.startswith("narrow dropout to {float = [0.0, ")
    assert any(note.startswith("dropout: ") and note.endswith("but nothing beyond 0 is allowed") for note in said.notes)


@pytest.mark.parametrize(
    ("listed", "sign", "wider"),
    [([16, 32, 64], 1, (16, 32, 64, 128)), ([16, 32, 64], -1, (8, 16, 32, 64)), ([10, 20, 30, 40], 1, (10, 20, 30, 40, 50))],
)
def test_a_list_of_numbers_gets_one_more_at_the_end_that_was_hit(listed: list[int], sign: int, wider: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    sizes = [int(rng.choice(listed)) for _ in range(80)]
    past = [Past(drawn(rng) | {"batch_size": size}, [sign * 0.01 * size + float(rng.normal(0, 0.01))]) for size in sizes]
    review = history(past, search=SEARCH | {"batch_size": listed}, train={"epochs": 1})
    assert values(found(review)["search.batch_size"]) == wider


@pytest.mark.parametrize(
    ("listed", "sign", "wider"),
    [
        ([1e-3, 1e-2, 1e-1], -1, (1e-4, 1e-3, 1e-2, 1e-1)),  # 0.1 * 0.1 is not 0.01 in binary
        ([1e-5, 1e-4, 1e-3], -1, (1e-6, 1e-5, 1e-4, 1e-3)),
        ([0.01, 0.02, 0.03], 1, (0.01, 0.02, 0.03, 0.04)),
        ([1e-3, 3e-3, 1e-2, 3e-2], -1, (3.333e-4, 1e-3, 3e-3, 1e-2, 3e-2)),  # by its distance it would be below 0
    ],
)
def test_a_list_of_rates_gets_one_more_at_the_end_that_was_hit(listed: list[float], sign: int, wider: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    rates = [float(rng.choice(listed)) for _ in range(80)]
    worth = [sign * 0.1 * listed.index(one) + float(rng.normal(0, 0.01)) for one in rates]
    past = [Past(drawn(rng) | {"learning_rate": one}, [value]) for one, value in zip(rates, worth, strict=True)]
    review = history(past, search=SEARCH | {"learning_rate": listed}, train={"epochs": 1})
    assert values(found(review)["search.learning_rate"]) == wider


def test_a_range_that_is_good_in_one_part_is_narrowed_to_it() -> None:
    review = searched(lambda p: -0.2 * (rate(p) + 2.4) ** 2, trials=200)
    change = found(review)["search.learning_rate"]
    assert isinstance(change, FloatRange)
    low, high = change.float
    assert 1e-3 < low < 10**-2.4 < high < 2e-2
    assert change.log
    whole = found(searched(lambda p: -0.2 * (np.log2(int(p["width"])) - 6) ** 2, trials=200))["search.width"]
    assert isinstance(whole, IntRange)
    assert 32 < whole.int[0] < 64 < whole.int[1] < 128


def test_a_range_with_a_step_is_narrowed_to_what_the_step_reaches() -> None:
    search = SEARCH | {"dropout": {"float": [0.5, 60.5], "step": 1.0}}
    rng = np.random.default_rng(0)
    past = []
    for _ in range(200):
        chosen = drawn(rng) | {"dropout": 0.5 + float(rng.integers(0, 61))}
        past.append(Past(chosen, [-0.001 * (float(chosen["dropout"]) - 20) ** 2 + float(rng.normal(0, 0.01))]))
    change = found(history(past, search=search, model="tests.paper:build", train={"epochs": 1}))["search.dropout"]
    assert isinstance(change, FloatRange)
    assert 0.5 < change.float[0] < 20 < change.float[1] < 60.5
    assert [end % 1 for end in change.float] == [0.5, 0.5]


def test_choices_that_are_worse_are_dropped() -> None:
    review = searched(lambda p: -0.2 * (p["optimizer"] == "sgd"))
    (one,) = (one for one in advise(review).suggestions if one.key == "search.optimizer")
    assert values(one.change) == ("adam", "lion")  # type: ignore[arg-type]
    assert one.says == 'drop "sgd" from optimizer'
    ranked = searched(lambda p: -0.2 * (p["optimizer"] == "sgd"), rank="optimizer", final={})
    assert "search.optimizer" not in found(ranked)
    assert "p = " in one.evidence


def test_a_parameter_that_explains_nothing_is_fixed_at_the_best_and_one_that_does_is_not() -> None:
    review = searched(lambda p: -0.05 * (p["activation"] == "tanh"), trials=800, noise=0.03)
    changes = found(review)
    assert changes["search.width"] == Fixed(value=advice.chosen(review)["width"])
    assert not isinstance(changes.get("search.activation"), Fixed)


def test_of_nothing_but_noise_hardly_anything_is_said() -> None:
    every = [change for seed in range(40) for change in of_parameters(searched(flat, trials=80, seed=seed)).values()]
    wrong = [change for change in every if not isinstance(change, Fixed)]
    assert len(wrong) <= 4  # 5 % of 40, give or take


def test_samplers_that_gather_somewhere_are_no_evidence() -> None:
    """As TPE may with a parameter that does nothing: nine tenths of all trials lie at the upper end."""
    rng = np.random.default_rng(3)
    crowd = [drawn(rng) | {"learning_rate": 0.09 if i % 10 else 0.001} for i in range(100)]
    review = history([Past(params, [float(rng.normal())]) for params in crowd], search=SEARCH, train={"epochs": 1})
    assert "search.learning_rate" not in found(review)


def test_few_trials_say_so_and_suggest_nothing() -> None:
    said = advise(searched(lambda p: 0.1 * rate(p), trials=15))
    assert said.suggestions == []
    assert said.notes[0].endswith("complete trials are too few; it takes 20")
    assert any("adam.beta_1" in note for note in advise(searched(flat, trials=60)).notes)


def test_trials_that_break_a_constraint_are_no_evidence_of_what_is_good() -> None:
    for search in (SEARCH, {"depth": 2, "width": {"int": [16, 256], "per_layer": True}}):  # with nothing else to look at, too
        review = searched(lambda p: 0.1 * rate(p), trials=60, search=search, constraints=["parameters <= 9"])
        assert all(entry.broken for entry in review.ranked)
        said = advise(review)
        assert said.suggestions == []
        assert said.notes == [f"0 of {said.complete} complete trials keep to the constraints: these are too few; it takes 20"]


# The budget ------------------------------------------------------------


def curves(shape: Callable[[int], float], epochs: int = 40, **changes: Any) -> Review:
    rng = np.random.default_rng(0)
    past = [
        Past(drawn(rng), [0.5 + shape(e) + float(rng.normal(0, 0.001)) + 0.0001 * n for e in range(1, epochs + 1)])
        for n in np.random.default_rng(1).permutation(60)
    ]
    return history(past, search=SEARCH, train={"epochs": epochs}, **changes)


def test_trials_that_still_rise_at_the_end_want_more_epochs() -> None:
    (one,) = (one for one in advise(curves(lambda epoch: 0.01 * epoch)).suggestions if one.key == "train.epochs")
    assert one.change == 80
    assert one.evidence.startswith("6 of the best 6 still rise in the last 10 epochs (p = 0.02)")


def test_trials_that_were_best_early_want_fewer_epochs() -> None:
    change = found(curves(lambda epoch: -0.01 * abs(epoch - 8)))["train.epochs"]
    assert change == 10


def test_trials_that_level_out_want_neither() -> None:
    assert "train.epochs" not in found(curves(lambda epoch: 1 - 0.7**epoch))


def searching(course: list[float], **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return found(history([Past(drawn(rng), [value]) for value in course], search=SEARCH, train={"epochs": 1}, **changes))


def test_a_search_that_was_still_finding_wants_more_trials_and_one_that_had_found_wants_patience() -> None:
    assert searching([0.01 * i for i in range(100)])["budget.trials"] == 200
    early = [0.5, 0.6, 0.7, *([0.65] * 7), 0.8, *([0.65] * 89)]
    assert searching(early)["budget.patience"] == 25
    assert searching(early).keys().isdisjoint({"budget.trials"})
    assert "budget.patience" not in searching(early, budget={"trials": 100, "patience": 90})
    steady = [0.7] * 60 + [0.7001] * 40
    assert searching(steady, race=raced([0.7, 0.71, 0.69])).keys().isdisjoint({"budget.trials", "budget.patience"})


def test_the_trials_before_the_first_complete_one_went_by_without_a_better_one() -> None:
    rng = np.random.default_rng(0)
    past = [Past(drawn(rng), [0.9 if n == 30 else 0.5], State.PRUNED if n < 30 else State.COMPLETE) for n in range(120)]
    review = history(past, search=SEARCH, train={"epochs": 1})
    (one,) = (one for one in advise(review).suggestions if one.key == "budget.patience")
    assert one.change == 62
    assert one.evidence.endswith("before it at most 31 went by without a better one")


def test_of_a_study_that_ended_early_the_number_of_trials_is_not_judged() -> None:
    rng = np.random.default_rng(0)
    course = [Past(drawn(rng), [0.01 * i]) for i in range(60)]
    review = history([*course, *[Past({}, [0.0], State.CANCELLED)] * 40], search=SEARCH, train={"epochs": 1})
    assert "budget.trials" not in found(review)
    assert "60 of 100 trials have come to their end: their number is not judged" in advise(review).notes


# The file ------------------------------------------------------------


def test_the_file_takes_up_what_is_suggested_and_begins_with_the_best() -> None:
    review = searched(lambda p: -0.2 * (p["optimizer"] != "lion") + 0.1 * rate(p), trials=300)
    said = advise(review)
    text = sequel.sequel(review, said, "next")
    spec = parse(tomllib.loads(text))
    assert spec.name == "next"
    assert spec.budget.trials == 300
    assert spec.search["learning_rate"] == FloatRange(float=(1e-4, 3.2), log=True)
    assert values(spec.search["optimizer"]) == ("lion",)
    assert "adam.beta_1" not in spec.search  # nobody has it any more
    assert spec.enqueue == (dict(review.best.row.params or {}),)
    assert all(f"# - {one.says}: {one.evidence}" in text for one in said.suggestions)


def test_nothing_is_enqueued_before_a_grid() -> None:
    steps = {"width": {"int": [16, 256]}, "optimizer": ["sgd", "adam", "lion"], "learning_rate": 0.1}
    review = searched(lambda p: -0.2 * (p["optimizer"] != "lion"), trials=300, search=steps, sampler="grid")
    text = sequel.sequel(review, advise(review), "next")
    assert parse(tomllib.loads(text)).enqueue == ()
    assert "comes first" not in text


@pytest.mark.parametrize("seed", range(8))
def test_the_file_is_valid_whatever_is_suggested(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pull = rng.normal(0, 0.2, 5)

    def worth(p: dict[str, Value]) -> float:
        scores = [
            rate(p),
            np.log2(int(p["width"])),
            10 * float(p["dropout"]),
            p["activation"] == "tanh",
            p["optimizer"] == "adam",
        ]
        return float(np.dot(pull, scores))

    conditional = SEARCH | {"l2": {"float": [1e-5, 1e-2], "log": True, "when": {"activation": ["tanh"]}}}
    review = searched(worth, trials=200, seed=seed, search=conditional)
    spec = parse(tomllib.loads(sequel.sequel(review, advise(review), "next")))
    assert spec.enqueue
