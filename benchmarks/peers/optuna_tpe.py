"""Optuna's sampler in memory, `fit`, and MLflow in SQLite, in one process.

Each trial is a run with its parameters, and after its training one call with the metrics of all epochs: the least that shows what
ours shows.
"""

import time
from typing import Any

import mlflow
import optuna
from mlflow.entities import Metric

from benchmarks.peers.work import Work, ended
from tuner.dimension import Dimension
from tuner.spec import FloatRange, IntRange, values
from tuner.trial import Params, Value

SAMPLERS = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}


def suggested(work: Work, trial: optuna.Trial) -> dict[str, Value]:
    """A trial's parameters."""

    def suggest(dimension: Dimension) -> Value:
        name = dimension.name
        match dimension.parameter:
            case IntRange(int=(low, high), log=log):
                return trial.suggest_int(name, low, high, log=log)
            case FloatRange(float=(low, high), log=log):
                return trial.suggest_float(name, low, high, log=log)
            case parameter:
                return trial.suggest_categorical(name, list(values(parameter)))

    return work.space.choose(suggest)


def logged(params: Params, curves: dict[str, list[float]]) -> None:
    """Show a trial in MLflow."""
    with mlflow.start_run() as run:
        mlflow.log_params(dict(params))
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, its in curves.items() for step, value in enumerate(its, 1)]
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics)


def main() -> None:
    """Search."""
    work = Work.given()
    mlflow.set_tracking_uri(f"sqlite:///{work.answer.parent / 'mlflow.db'}")
    mlflow.set_experiment(work.spec.name)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[work.spec.sampler.name](seed=work.spec.seed))
    trials: list[dict[str, Any]] = []
    while len(trials) < work.spec.budget.trials and not work.over:
        trial = study.ask()
        params = suggested(work, trial)
        curves = work.fit(params)
        value = max(curves[work.spec.objective.metric])
        logged(params, curves)
        study.tell(trial, value)
        trials.append(ended(value, params))
    work.finish(trials)


if __name__ == "__main__":
    main()
