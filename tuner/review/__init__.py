"""What a study found: leaderboard, pandas frames, plots, a real `optuna.Study`, and a report that is one file.

In a notebook::

    review = tuner.review.study("digits")
    review.leaderboard(10)
    review.optuna.best_params
    tuner.review.plot(review, "history").parts["history"]
    tuner.review.compare(review, tuner.review.study("digits-wide")).differences

`results` holds what was found, `plots` and `looks` draw it, `page` writes the report in `markup`.
"""

from tuner.review.page import file_name, render, report
from tuner.review.plots import KINDS, Plot, plot, pngs
from tuner.review.results import Ranked, Review, Totals, best, leaderboard, load, open_study, study, totals
from tuner.review.versus import Comparison, compare
from tuner.toml import study_file

__all__ = [
    "KINDS",
    "Comparison",
    "Plot",
    "Ranked",
    "Review",
    "Totals",
    "best",
    "compare",
    "file_name",
    "leaderboard",
    "load",
    "open_study",
    "plot",
    "pngs",
    "render",
    "report",
    "study",
    "study_file",
    "totals",
]
