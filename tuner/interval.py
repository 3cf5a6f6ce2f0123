"""What a handful of numbers says of the mean behind them: intervals, and which of several is the best. Pure.

Shapes: F finalists, S seeds, N rows. All intervals are for 95 %. The noise between seeds is taken to be normal.

    mean of a finalist     Student 1908: mean ± t s/√S.
    mean of the winner     The best of F means is high partly by luck, so that Student's interval would miss its truth too often
                           from above (five equal finalists: 10 % instead of 5 %). Of the 5 % its worse end gets the share 1/F and
                           the better end the rest, after Fuentes, Casella and Wells 2018, "Confidence intervals for the means of
                           the selected populations". Were all equal, F chances to be wrong at the worse end would make 5 %; is
                           one far ahead, both ends together do; between these, with five finalists, 2 to 5 % are missed.
    who is worse           Student's t of the differences on common seeds, one-sided. Where all differences are the same there is
                           no spread to compare them with, and nothing is claimed.
    who cannot win         The same at several looks while the race is on, as in the BRACE of Moore and Lee 1994, "Efficient
                           algorithms for minimizing cross validation error", with its risk shared out evenly among opponents and
                           looks (Bonferroni): the truly best finalist is dropped with a probability of at most `RISK`. Races with
                           Hoeffding's bound (Maron and Moore 1994) need hundreds of seeds to drop anybody.
    all places             The same for all pairs at once (Bonferroni): than how many one is worse, and than how many better,
                           bounds its place; with a risk of 5 % any one of these bounds misses its truth. After Mohamad, van Zwet,
                           Solari and Goeman 2021, "Simultaneous confidence intervals for ranks using the partitioning principle".
    two winners            Welch 1947: the difference of two means of different spread. Each winner may be good by luck, so the
                           end of the interval that its luck would put wrong gets the share 1/F of the risk.
    two scores             From the interval of each, Zou and Donner 2008, "Construction of confidence limits about effect
                           measures: a general approach". On common rows the interval is wider than it need be.
    a share of N rows      Wilson 1927.
    another metric         Percentiles of the metric on resampled rows, Efron 1979.
"""

from collections.abc import Callable, Collection
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

RISK = 0.05
FIRST_LOOK = 3  # seeds of each finalist before one can be dropped; the t of two differences says next to nothing
RESAMPLED = 1_000

Numbers = NDArray[np.float64]
Interval = tuple[float, float]


def of_mean(x_S: Numbers) -> Interval:
    """Of the mean behind `x_S` [S], S ≥ 2."""
    return _around(x_S, RISK / 2, RISK / 2)


def of_winner(x_S: Numbers, finalists: int, *, maximise: bool) -> Interval:
    """Of the mean behind `x_S` [S], S ≥ 2, the best of so many that were seen."""
    worse = min(RISK / 2, RISK / finalists)
    return _around(x_S, worse, RISK - worse) if maximise else _around(x_S, RISK - worse, worse)


def _around(x_S: Numbers, below: float, above: float) -> Interval:
    S = len(x_S)
    error = float(x_S.std(ddof=1)) / S**0.5
    mean = float(x_S.mean())
    return mean - _student(1 - below, S - 1) * error, mean + _student(1 - above, S - 1) * error


def is_worse(x_S: Numbers, than_S: Numbers, risk: float, *, maximise: bool) -> bool:
    """Whether the mean behind `x_S` [S] is worse than that behind `than_S` [S]; wrong with a probability of at most `risk`."""
    S = len(x_S)
    ahead_S = than_S - x_S if maximise else x_S - than_S
    error = float(ahead_S.std(ddof=1)) / S**0.5
    return bool(error > 0 and float(ahead_S.mean()) / error > _student(1 - risk, S - 1))


def tied(x_FS: Numbers, *, maximise: bool) -> list[int]:
    """Those of the finalists with results `x_FS` [F, S] that cannot be told from the best mean among them; it comes first."""
    F = len(x_FS)
    means_F = x_FS.mean(axis=1)
    first = int(means_F.argmax() if maximise else means_F.argmin())
    others = [f for f in range(F) if f != first and not is_worse(x_FS[f], x_FS[first], RISK / (F - 1), maximise=maximise)]
    return [first, *others]


def places(x_FS: Numbers, *, maximise: bool) -> list[tuple[int, int]]:
    """The best and the worst place, counted from 1, that each of the finalists with results `x_FS` [F, S] may truly have."""
    F = len(x_FS)
    risk = RISK / max(1, F * (F - 1))
    worse_FF = np.array([[f != g and is_worse(x_FS[f], x_FS[g], risk, maximise=maximise) for g in range(F)] for f in range(F)])
    return [(1 + int(worse_FF[f].sum()), F - int(worse_FF[:, f].sum())) for f in range(F)]


def hopeless(x_FS: Numbers, racing: Collection[int], *, maximise: bool) -> list[int]:
    """Those `racing` that cannot win any more; NaN in `x_FS` [F, S] stands for a result that is not there yet."""
    F, S = x_FS.shape
    looks = S - FIRST_LOOK
    there_S = ~np.isnan(x_FS[sorted(racing)]).any(axis=0)
    n = S if there_S.all() else int(there_S.argmin())
    if F == 1 or not FIRST_LOOK <= n < S:
        return []
    risk = RISK / ((F - 1) * looks)
    seen_FS = x_FS[:, :n]
    return [f for f in racing if any(is_worse(seen_FS[f], seen_FS[other], risk, maximise=maximise) for other in racing)]


def of_difference(x_S: Numbers, y_S: Numbers, finalists: tuple[int, int], *, maximise: bool) -> Interval | None:
    """Of the mean behind `x_S` [S] less that behind `y_S` [S'], each the best of so many; None where neither has a spread."""
    x_error, y_error = (float(z_S.var(ddof=1)) / len(z_S) for z_S in (x_S, y_S))
    error = x_error + y_error
    if not error:
        return None
    freedom = error**2 / (x_error**2 / (len(x_S) - 1) + y_error**2 / (len(y_S) - 1))
    low, high = finalists if maximise else finalists[::-1]
    ahead = float(x_S.mean() - y_S.mean())
    below, above = (_student(1 - RISK / 2 / count, freedom) * error**0.5 for count in (low, high))
    return ahead - below, ahead + above


def of_scores(x: float, around_x: Interval, y: float, around_y: Interval) -> Interval:
    """Of the value behind the score `x` less that behind `y`, of which the intervals are known."""
    below = ((x - around_x[0]) ** 2 + (around_y[1] - y) ** 2) ** 0.5
    above = ((around_x[1] - x) ** 2 + (y - around_y[0]) ** 2) ** 0.5
    return x - y - below, x - y + above


def of_share(share: float, rows: float) -> Interval:
    """Of the share behind the one that was found among so many rows."""
    z2 = NormalDist().inv_cdf(1 - RISK / 2) ** 2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    reach = (z2 * (share * (1 - share) / rows + z2 / (4 * rows**2))) ** 0.5 / (1 + z2 / rows)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def of_rows(metric: Callable[[NDArray[Any]], float], rows: int) -> Interval:
    """Of a `metric` of row numbers [N]."""
    rng = np.random.default_rng(0)
    found = [metric(rng.integers(0, rows, rows)) for _ in range(RESAMPLED)]
    low, high = np.nanquantile(found, [RISK / 2, 1 - RISK / 2])
    return float(low), float(high)


def _student(share: float, freedom: float) -> float:
    """The quantile of Student's t."""
    from scipy.special import stdtrit  # noqa: PLC0415 — loads for 0.2 s, and a worker without a race does without

    return float(stdtrit(freedom, share))
