"""KerasTuner's random search, in one process."""

from typing import Any

import keras
import keras_tuner

from benchmarks.peers.work import Work, ended
from tuner.spec import FloatRange, IntRange, values
from tuner.trial import Params


def suggested(work: Work, hp: keras_tuner.HyperParameters) -> Params:
    """A trial's parameters."""
    for dimension in work.space.dimensions:
        name = dimension.name
        match dimension.parameter:
            case IntRange(int=(low, high), log=log):
                hp.Int(name, low, high, sampling="log" if log else "linear")
            case FloatRange(float=(low, high), log=log):
                hp.Float(name, low, high, sampling="log" if log else "linear")
            case parameter:
                hp.Choice(name, list(values(parameter)))
    return hp.values


class Network(keras_tuner.HyperModel):
    """The networks of the study."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """A network of these parameters."""
        return self._work.compiled(suggested(self._work, hp))[0]

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **options: Any) -> Any:
        """With the batch size, which is searched too."""
        return model.fit(*args, batch_size=hp.get("batch_size"), **options)


class Search(keras_tuner.RandomSearch):
    """A random search that begins no trial when its time is over."""

    def __init__(self, work: Work, **options: Any) -> None:
        super().__init__(Network(work), **options)
        self._work = work
        self.answers: list[dict[str, Any]] = []

    def pre_create_trial(self) -> None:
        """Before each trial."""
        if self._work.over:
            self.oracle.max_trials = len(self.oracle.trials)

    def on_trial_end(self, trial: Any) -> None:
        """After each trial."""
        super().on_trial_end(trial)
        self.answers.append(ended(trial.score, trial.hyperparameters.values))


def main() -> None:
    """Search."""
    work = Work.given()
    objective = keras_tuner.Objective(work.spec.objective.metric, "max")
    options = {"max_trials": work.spec.budget.trials, "seed": work.spec.seed, "directory": work.answer.parent}
    search = Search(work, objective=objective, **options)
    search.search(**work.rows, epochs=work.spec.train.epochs, verbose=0)
    work.finish(search.answers)


if __name__ == "__main__":
    main()
