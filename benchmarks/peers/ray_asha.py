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


class Training(tune.Trainable):
    """A trial that is asked for one epoch after the other."""

    def setup(self, config: Params, work: Work) -> None:
        """Once for each process."""
        tf.config.threading.set_intra_op_parallelism_threads(1)
        self._work = work
        self.reset_config(config)

    def reset_config(self, config: Params) -> bool:
        """Once for each further trial."""
        keras.backend.clear_session()
        self._model, self._batch_size = self._work.compiled(config)
        return True

    def step(self) -> dict[str, float]:
        """An epoch."""
        epoch = self.iteration
        options = {"batch_size": self._batch_size, "initial_epoch": epoch, "epochs": epoch + 1, "verbose": 0}
        curves = self._model.fit(**self._work.rows, **options).history
        return {name: its[-1] for name, its in curves.items()}


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
    running = tune.RunConfig(
        storage_path=str(work.answer.parent), stop={"training_iteration": epochs}, verbose=0,
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
    )  # fmt: skip
    training = tune.with_resources(tune.with_parameters(Training, work=work), {"cpu": 1})
    results = tune.Tuner(training, param_space=space(work), tune_config=tuning, run_config=running).fit()
    if results.errors:
        raise results.errors[0]
    ends = [(result.metrics["timestamp"], result.metrics[tuning.metric], result.config) for result in results]
    work.finish([{"ended": at, "value": value, "params": params} for at, value, params in ends])


if __name__ == "__main__":
    main()
