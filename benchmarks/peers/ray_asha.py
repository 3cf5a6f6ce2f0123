"""Ray Tune's random search with ASHA: two processes, each with a core of its own, which stay alive from trial to trial.

It searches as many trials as the study has, whatever the time.
"""

from typing import Any

import keras
import ray
import tensorflow as tf
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from benchmarks.peers.work import Work
from tuner.spec import FloatRange, IntRange, values
from tuner.trial import Params

PROCESSES = 2


class Reports(keras.callbacks.Callback):
    """Tells Tune of every epoch; it ends the trial there when the scheduler says so."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """An epoch."""
        del epoch  # Tune counts
        tune.report(dict(logs or {}))


def training(config: Params, work: Work) -> None:
    """A trial."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    work.fit(config, callbacks=[Reports()])


def space(work: Work) -> dict[str, Any]:
    """The study's space in Ray's words."""
    found = {}
    for dimension in work.space.dimensions:
        match dimension.parameter:
            case IntRange(int=(low, high), log=log):
                found[dimension.name] = (tune.lograndint if log else tune.randint)(low, high + 1)
            case FloatRange(float=(low, high), log=log):
                found[dimension.name] = (tune.loguniform if log else tune.uniform)(low, high)
            case parameter:
                found[dimension.name] = tune.choice(list(values(parameter)))
    return found


def main() -> None:
    """Search."""
    work = Work.given()
    rungs, epochs = work.spec.pruner, work.spec.train.epochs
    ray.init("local", num_cpus=PROCESSES, include_dashboard=False, log_to_driver=False)
    scheduler = ASHAScheduler(max_t=epochs, grace_period=rungs.from_epoch, reduction_factor=rungs.factor)
    tuning = tune.TuneConfig(
        metric=work.spec.objective.metric, mode="max", num_samples=work.spec.budget.trials, scheduler=scheduler,
        reuse_actors=True,
    )  # fmt: skip
    running = tune.RunConfig(storage_path=str(work.answer.parent), verbose=0)
    trainable = tune.with_resources(tune.with_parameters(training, work=work), {"cpu": 1})
    results = tune.Tuner(trainable, param_space=space(work), tune_config=tuning, run_config=running).fit()
    if results.errors:
        raise results.errors[0]
    ends = [(result.metrics["timestamp"], result.metrics[tuning.metric], result.config) for result in results]
    work.finish([{"ended": at, "value": value, "params": params} for at, value, params in ends])


if __name__ == "__main__":
    main()
