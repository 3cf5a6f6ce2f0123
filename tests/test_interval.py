"""Intervals cover what they promise, and races lose the best no more often than they say: simulated with NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.stats import bootstrap

from tuner import interval
from tuner.interval import RISK

RACES = 1_200


def equal(_rng: np.random.Generator) -> np.ndarray:
    return np.zeros(5)


def one_far_ahead(_rng: np.random.Generator) -> np.ndarray:
    return np.array([0.0, 0.0, 0.0, 6.0])


def pair(_rng: np.random.Generator) -> np.ndarray:
    return np.array([0.0, 0.5])


def alone(_rng: np.random.Generator) -> np.ndarray:
    return np.zeros(1)


def searched(rng: np.random.Generator) -> np.ndarray:
    """The best five of sixty trials, by a single seed each."""
    truth = rng.normal(0, 1, 60)
    return truth[np.argsort(-(truth + rng.normal(0, 1, 60)))[:5]]


def raced(x_FS: np.ndarray, *, maximise: bool = True) -> set[int]:
    """Who is left when the finalists' results `x_FS` come in seed by seed."""
    F, S = x_FS.shape
    racing = set(range(F))
    for n in range(1, S):
        seen = np.where(np.arange(S) < n, x_FS, np.nan)
        racing -= set(interval.hopeless(seen, sorted(racing), maximise=maximise))
    return racing


@pytest.mark.parametrize(
    ("field", "sign"), [(equal, 1), (equal, -1), (searched, 1), (searched, -1), (one_far_ahead, 1), (pair, 1), (alone, 1)]
)
def test_the_interval_of_a_races_winner_covers_its_truth(field: Callable[[np.random.Generator], np.ndarray], sign: int) -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(RACES):
        truth_F = sign * field(rng)
        common_S = rng.normal(0, 0.3, 5)  # a seed that is good for one finalist is good for others
        x_FS = truth_F[:, None] + common_S + rng.normal(0, (1 - 0.3**2) ** 0.5, (len(truth_F), 5))
        left = sorted(raced(x_FS, maximise=sign > 0))
        winner = left[interval.tied(x_FS[left], maximise=sign > 0)[0]]
        low, high = interval.of_winner(x_FS[winner], len(truth_F), maximise=sign > 0)
        covered += low <= truth_F[winner] <= high
    assert 0.93 <= covered / RACES <= 0.97


def test_students_interval_alone_would_miss_the_winner_too_often() -> None:
    rng = np.random.default_rng(2)
    x_RFS = rng.normal(size=(RACES, 5, 5))
    winners = (x_FS[x_FS.mean(axis=1).argmax()] for x_FS in x_RFS)
    ends = [interval.of_mean(x_S) for x_S in winners]
    assert np.mean([low <= 0 <= high for low, high in ends]) < 0.93


@pytest.mark.parametrize(("seeds", "field"), [(5, np.zeros(5)), (12, np.array([0.0, 0.0, 0.01]))])
def test_the_truly_best_finalist_is_dropped_no_more_often_than_promised(seeds: int, field: np.ndarray) -> None:
    rng, best, lost = np.random.default_rng(3), int(field.argmax()), 0
    for _ in range(2 * RACES):
        lost += best not in raced(field[:, None] + rng.normal(size=(len(field), seeds)))
    assert lost / (2 * RACES) <= RISK


@pytest.mark.parametrize("field", [np.zeros(6), np.array([0.0, 0.0, 2.0, 2.0, 4.0, 9.0])])
def test_every_true_place_lies_within_its_bounds_as_often_as_promised(field: np.ndarray) -> None:
    rng, held, widths = np.random.default_rng(7), 0, []
    first = [1 + int((field > truth).sum()) for truth in field]
    last = [int((field >= truth).sum()) for truth in field]  # equals may stand in any order
    for _ in range(RACES):
        bounds = interval.places(field[:, None] + rng.normal(size=(6, 10)), maximise=True)
        held += all(low <= a and b <= high for (low, high), a, b in zip(bounds, first, last, strict=True))
        widths.append(np.mean([high - low for low, high in bounds]))
    assert held / RACES >= 1 - RISK
    assert np.mean(widths) < 5 if field.any() else np.mean(widths) > 4.9
    assert interval.places(rng.normal(size=(1, 5)), maximise=False) == [(1, 1)]


def test_who_is_far_behind_is_dropped_before_the_last_seed() -> None:
    rng = np.random.default_rng(4)
    field = np.array([0.0, 0.5, 30.0])
    left = [raced(field[:, None] + rng.normal(size=(3, 5))) for _ in range(100)]
    assert sum(racing == {2} for racing in left) > 80
    assert interval.hopeless(np.full((3, 5), np.nan), [0, 1, 2], maximise=True) == []


def test_results_that_differ_always_by_the_same_claim_nothing() -> None:
    same = np.array([0.9, 0.9, 0.9, 0.9, 0.9])
    assert not interval.is_worse(same - 0.01, same, 0.05, maximise=True)
    assert interval.tied(np.stack([same - 0.01, same]), maximise=True) == [1, 0]


def test_the_pieces_are_those_of_scipy() -> None:
    rng = np.random.default_rng(5)
    x_S, y_S = rng.normal(size=(2, 7))
    mean, error = x_S.mean(), stats.sem(x_S)
    assert interval.of_mean(x_S) == pytest.approx(stats.t.interval(0.95, 6, mean, error))
    p = stats.ttest_rel(y_S, x_S, alternative="greater").pvalue
    assert interval.is_worse(x_S, y_S, p * 1.01, maximise=True)
    assert not interval.is_worse(x_S, y_S, p * 0.99, maximise=True)
    wilson = stats.binomtest(93, 100).proportion_ci(method="wilson")
    assert interval.of_share(0.93, 100) == pytest.approx((wilson.low, wilson.high))
    errors_N = rng.exponential(size=200)
    ends = bootstrap((errors_N,), np.mean, method="percentile", n_resamples=5_000, rng=6).confidence_interval
    assert interval.of_rows(lambda rows: float(errors_N[rows].mean()), 200) == pytest.approx((ends.low, ends.high), rel=0.05)
