"""The engine for one trial at a time: any Keras model, a whole epoch in one compiled call.

Shapes: N training rows, V validation rows, B batch, T steps of an epoch, C outputs of the network.

What a trial does is a function of the study, its parameters and its seed: the order of the rows follows from (study seed, epoch),
weights and masks from the trial's seed, and whether XLA compiles the graph from the sizes alone. So a trial that goes on from its
checkpoint ends, on a CPU, with the bits of the one that was never interrupted, and none depends on the trials before it.

The last batch of an epoch is filled up with rows from the beginning of the same epoch, over and over if there are fewer than it
wants, which weigh nothing in the loss; each row counts once an epoch, and one shape of step serves all.
"""

import importlib
import inspect
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import models
from models import backprop
from models.export import to_keras
from models.layers import initialise, set_hyper
from optimizers.closure import Closure, values_of
from optimizers.loss_scale import LossScale
from optimizers.row_memory import LinearBatch
from tuner import checkpoints, rules
from tuner.costs import costs
from tuner.data import Data, Split, order
from tuner.errors import BadInput, Unwritable
from tuner.objective import Measure, Objective, at_evaluation, precision
from tuner.space import Configuration, Space
from tuner.spec import StudySpec
from tuner.trial import Checkpoint, Epoch, Trial, Value

CHUNK = 2048  # rows that are predicted at once
# What XLA costs and wins on two CPU cores (benchmarks/results/solo_loop.txt), in seconds.
XLA_COMPILES, XLA_WINS_A_STEP, XLA_WINS_A_WEIGHT = 1.5, 1e-4, 2e-9


class Solo:
    """A `tuner.trial.Run` with room for one trial.

    The graphs of the last `graphs` signatures are kept: a trial whose signature is known compiles nothing. Several engines can
    share what `study` has on the device.
    """

    def __init__(self, spec: StudySpec, data: Data, *, study: Objective | None = None, graphs: int = 32) -> None:
        self._spec, self._kept, self._facts = spec, graphs, data.facts
        self._space = Space(spec)
        self._study = study or Objective(spec, data)
        self._networks = _Own(spec, data) if spec.model.is_code else _BuiltIn(self._space, data)
        self._graphs: OrderedDict[tuple[tuple[str, Value], ...], _Graph] = OrderedDict()
        self._traced: Counter[str] = Counter()
        self._seat: _Seat | None = None
        self._busy = False

    def __str__(self) -> str:
        return f"one trial at a time, {self.traces} graphs"

    @property
    def room(self) -> int:
        """1 when no trial is inside, else 0."""
        return 0 if self._busy else 1

    @property
    def like(self) -> None:
        """No trial trains beside another."""

    @property
    def soon(self) -> int:
        """None is wanted before the one inside has left."""
        return 0

    @property
    def traces(self) -> int:
        """How many functions were traced, and compiled, so far."""
        return self._traced.total()

    def add(self, trial: Trial) -> None:
        """Take a trial in, from its checkpoint when it has one.

        Raises `BadCheckpoint`, and whatever a user's own function raises; the room stays free then.
        """
        if self._busy:
            raise RuntimeError("solo has room for one trial")
        self._seat = None  # its graph may be the one that is renewed
        checkpoint = trial.checkpoint
        state = checkpoints.read(checkpoint, self._labels(trial, checkpoint.epoch)) if checkpoint else None
        with self._memory(), precision(self._spec):
            graph = self._graph(trial)
        if state is not None:
            graph.restore(state)
        self._seat = _Seat(trial, graph, checkpoint.epoch if checkpoint else 0)
        self._busy = True

    def advance(self) -> list[Epoch]:
        """Train the trial inside for an epoch; after its last the room is free."""
        return [self._advance(self._seat)] if self._busy and self._seat is not None else []

    def stop(self, number: int) -> None:
        """Let the trial go; a trial that has left already is no matter."""
        if self._seat is not None and self._seat.trial.number == number:
            self._busy = False

    def save(self, number: int, folder: Path) -> Checkpoint:
        """Write `<number>-<epoch>.safetensors` durably; possible until another trial takes the place."""
        if self._seat is None or self._seat.trial.number != number:
            raise KeyError(f"trial {number} is not here")
        return checkpoints.write(folder, self._labels(self._seat.trial, self._seat.epoch), self._seat.graph.state())

    def keep(self, number: int, folder: Path) -> Checkpoint:
        """Write `<number>-<epoch>.keras` durably: the trial, at the point that is evaluated, as a model that takes raw rows.

        A built-in network consists of Keras' own layers then. Raises `Unwritable` when Keras cannot write a user's network.
        """
        if self._seat is None or self._seat.trial.number != number:
            raise KeyError(f"trial {number} is not here")
        seat, to_served = self._seat, to_keras if self._space.network is not None else _as_it_is
        content = seat.graph.evaluated(lambda: _written(lambda: self._study.served(to_served(seat.graph.model))))
        return checkpoints.put(folder / f"{number}-{seat.epoch}.keras", seat.epoch, content)

    def measured(self, number: int, split: Split) -> dict[str, Measure]:
        """The loss and the metrics of a trial as it is trained now, on rows that it was not given to train with."""
        if self._seat is None or self._seat.trial.number != number:
            raise KeyError(f"trial {number} is not here")
        return self._study.measured(split, self._seat.graph.predict_others(split.x))

    def _advance(self, seat: "_Seat") -> Epoch:
        self._busy = False  # a trial whose epoch raises has left
        begin = time.perf_counter()
        with self._memory():
            metrics = self._epoch(seat.graph, seat.epoch + 1)
            seconds = time.perf_counter() - begin
            last = seat.epoch + 1 == self._spec.train.epochs
            found = self._costs(seat.trial) if last else {}
        seat.epoch += 1
        self._busy = not last
        return Epoch(seat.trial.number, seat.epoch, metrics, seconds, seat.graph.parameters, found)

    def _costs(self, trial: Trial) -> dict[str, float]:
        configuration = self._space.configuration(trial.params)
        return costs(self._space, trial.params, self._facts, lambda: self._networks.fresh(configuration, trial.seed))

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Give up every graph when there is no memory left, else the next trial would find it taken."""
        try:
            yield
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            self._graphs.clear()
            self._seat = None
            raise MemoryError(str(error).splitlines()[0] if str(error) else "no memory left") from error

    def _epoch(self, graph: "_Graph", epoch: int) -> dict[str, float]:
        trained = graph.train(order(self._study.rows, self._spec.seed, epoch))
        return {**trained, **self._study.scores(graph.predict())}

    def _graph(self, trial: Trial) -> "_Graph":
        """The graph of the trial's signature, in the state that the trial begins with."""
        configuration, key = self._space.configuration(trial.params), self._space.signature(trial.params)
        graph = self._graphs.pop(key, None)
        if graph is None:
            model = self._networks.fresh(configuration, trial.seed)
            graph = _Graph(model, configuration, self._study, self._traced, jit=self._jit(model, configuration))
        else:
            self._networks.renew(graph.model, configuration, trial.seed)
            graph.renew(configuration)
        self._graphs[key] = graph
        if len(self._graphs) > self._kept:
            self._graphs.popitem(last=False)
        return graph

    def _jit(self, model: keras.Model, configuration: Configuration) -> bool:
        """Whether XLA shall compile the graph.

        On a CPU it pays for long trials of dense networks; convolutions get slower, and a user's function may contain them.
        """
        if self._spec.train.jit is not None:
            return self._spec.train.jit
        if tf.config.list_physical_devices("GPU"):
            return True
        if self._space.network is None or self._space.network.convolutional:
            return False
        steps = self._study.steps(configuration.batch_size or self._study.rows)
        return steps * (XLA_WINS_A_STEP + XLA_WINS_A_WEIGHT * _count(model)) > XLA_COMPILES

    def _labels(self, trial: Trial, epoch: int) -> dict[str, str]:
        return checkpoints.labels(trial.number, epoch, self._space.signature(trial.params))


@dataclass
class _Seat:
    """The trial inside, its graph, and the last epoch it has finished."""

    trial: Trial
    graph: "_Graph"
    epoch: int


# Networks ----------------------------------------------------------------------------------------------------------------------


class _BuiltIn:
    """Networks of a row of `models.NETWORKS`: `fresh` ones, and trained ones made equal to a fresh one by `renew`."""

    def __init__(self, space: Space, data: Data) -> None:
        self._space, self._facts = space, data.facts

    def fresh(self, configuration: Configuration, seed: int) -> keras.Model:
        build = models.load(self._space.spec.model.name)
        model = build(configuration.network, self._facts.input_shape, self._facts.outputs, self._space.tensors)
        self.renew(model, configuration, seed)
        return model

    def renew(self, model: keras.Model, configuration: Configuration, seed: int) -> None:
        initialise(model, seed)
        set_hyper(model, {name: float(configuration.network[name]) for name in self._space.tensors})


class _Own:
    """The same from a user's function `module:function`, which is called with its parameters by name."""

    def __init__(self, spec: StudySpec, data: Data) -> None:
        self._name, self._facts = spec.model.name, data.facts
        self._function = _function(spec.model.name)

    def fresh(self, configuration: Configuration, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = self._function(**configuration.network, **self._accepted())
        if not isinstance(model, keras.Model):
            raise TypeError(f"{self._name} must return a keras.Model, not {type(model).__name__}")
        self._check(model(tf.zeros((1, *self._facts.input_shape))))
        return model

    def renew(self, model: keras.Model, configuration: Configuration, seed: int) -> None:
        for mine, its in zip(model.variables, self.fresh(configuration, seed).variables, strict=True):
            mine.assign(its)

    def _accepted(self) -> dict[str, Any]:
        """What the function may want to know of the data, if it says so or takes whatever it is given."""
        known = {"input_shape": self._facts.input_shape, "outputs": self._facts.outputs}
        takes = inspect.signature(self._function).parameters
        anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        return {name: value for name, value in known.items() if anything or name in takes}

    def _check(self, output: Any) -> None:
        shape = tuple(output.shape) if tf.is_tensor(output) else None
        if shape != (1, self._facts.outputs):
            raise ValueError(f"{self._name}: the output for one row must have shape (1, {self._facts.outputs}), not {shape}")


def _function(name: str) -> Callable[..., Any]:
    """A user's function. Raises `BadInput`: without it every trial would fail."""
    module, _, function = name.partition(":")
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, a script that reads its command line exits
        said = str(error).partition("\n")[0][:300]
        raise BadInput(f"model.name: {module} cannot be imported: {type(error).__name__}: {said}") from error
    found: Callable[..., Any] | None = getattr(imported, function, None)
    if not callable(found):
        raise BadInput(f"model.name: {module} has no function {function!r}")
    return found


# One graph ---------------------------------------------------------------------------------------------------------------------


class _Graph:
    """A network, its optimizer and their compiled functions: what the trials of one signature share."""

    def __init__(
        self, model: keras.Model, configuration: Configuration, study: Objective, traced: Counter[str], *, jit: bool
    ) -> None:
        self.model, self._study, self._traced = model, study, traced
        self.parameters = _count(model)
        self._batch = configuration.batch_size or study.rows
        self._optimizer = rules.rule(configuration, study.steps(self._batch))
        self._optimizer.build(model.trainable_variables)
        if "linear_model" in self._optimizer.row.requires:
            self._optimizer.remember(study.rows, model.output_shape[-1])
        self._loss_scale = LossScale() if study.scales_loss else None
        # Concrete functions: they cost less a call, and TensorFlow warns of no retracing where there is none.
        order_N = tf.TensorSpec([study.rows], tf.int32)
        self._train = tf.function(self._epoch, jit_compile=jit, autograph=False).get_concrete_function(order_N)
        self._predict = tf.function(self._held_out, jit_compile=jit, autograph=False).get_concrete_function()

    def renew(self, configuration: Configuration) -> None:
        """Make the optimizer a fresh one with the configuration's values; the network must be renewed before."""
        self._optimizer.reset()
        if self._loss_scale is not None:
            self._loss_scale.reset()
        for name, value in rules.numbers(configuration, self._study.steps(self._batch)).items():
            self._optimizer.set_hyper(name, value)

    def train(self, rows: NDArray[np.int32]) -> dict[str, float]:
        """One pass over the training rows in the order `rows` [N]; the mean loss with penalties, and the task's metric."""
        loss, measured = self._train(tf.constant(rows)).numpy().tolist()
        return {"loss": loss, self._study.task.measured: measured}

    def predict(self) -> NDArray[np.float32]:
        """The predictions for the validation rows, [V, C], at the point that the optimizer wants evaluated."""
        predicted: NDArray[np.float32] = self._predict().numpy()
        return predicted

    def predict_others(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """The predictions for other inputs [N, ...] at the same point, [N, C]."""

        def predicted() -> tf.Tensor:
            chunks = (self._study.normalised(x[start : start + CHUNK]) for start in range(0, len(x), CHUNK))
            return tf.concat([self._predictions_of(chunk) for chunk in chunks], axis=0)

        found: NDArray[np.float32] = at_evaluation(self._optimizer, self.model.trainable_variables, predicted).numpy()
        return found

    def evaluated(self, action: Callable[[], Any]) -> Any:
        """What an action gives while the network has the weights that are evaluated."""
        return at_evaluation(self._optimizer, self.model.trainable_variables, action)

    def state(self) -> dict[str, NDArray[Any]]:
        """Every variable by its place; names differ between processes."""
        return {place: np.asarray(variable) for place, variable in self._variables()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take a state over.

        Raises `BadCheckpoint` when it is not one of this graph.
        """
        variables = dict(self._variables())
        checkpoints.check(state, {place: tuple(variable.shape) for place, variable in variables.items()})
        for place, variable in variables.items():
            variable.assign(state[place])

    def _variables(self) -> Iterator[tuple[str, keras.Variable]]:
        scale = [] if self._loss_scale is None else self._loss_scale.variables
        owners = {"model": self.model.variables, "optimizer": self._optimizer.variables, "loss_scale": scale}
        for owner, variables in owners.items():
            for place, variable in enumerate(variables):
                yield f"{owner}/{place}", variable

    def _epoch(self, order_N: tf.Tensor) -> tf.Tensor:
        """The steps of one epoch; the means over its rows of loss and metric, [2]."""
        self._traced["epoch"] += 1
        share_TB, share_T = self._study.shares(self._batch)
        T, B = share_TB.shape
        rows_TB = tf.gather(order_N, np.arange(T * B).reshape(T, B) % self._study.rows)
        if "snapshot" in self._optimizer.row.requires:
            self._take_snapshot(rows_TB, share_TB, share_T)

        def step(t: tf.Tensor, means: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return t + 1, means + share_T[t] * self._step(rows_TB[t], share_TB[t])

        return tf.while_loop(lambda t, _: t < T, step, (0, tf.zeros(2)), parallel_iterations=1)[1]

    def _step(self, rows: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        """Update the weights from one batch of `rows` [B]; `share` [B] is each row's part in a mean. Its loss and metric, [2]."""
        variables = self.model.trainable_variables
        if "closure" in self._optimizer.row.requires:
            closure = self._closure(rows, share)
            passed = self._optimizer.descend(closure, variables)
            closure.keep(passed)
            return tf.stack([passed.loss, passed.outputs])
        if "linear_model" in self._optimizer.row.requires:
            return self._linear_step(rows, share)
        if self._study.explicit:
            return self._explicit_step(rows, share)
        with tf.GradientTape() as tape:
            loss, measured = self._loss(rows, share)
            target = loss if self._loss_scale is None else self._loss_scale.up(loss)
        gradients = tape.gradient(target, variables)
        if self._loss_scale is None:
            self._optimizer.apply(gradients, variables)
        else:
            self._loss_scale.apply(self._optimizer, gradients, variables)
        return tf.stack([loss, measured])

    def _explicit_step(self, rows: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        """The same by the lecture's formulas."""
        study, variables = self._study, self.model.trainable_variables
        y, weights = self._targets(rows, share)
        out, gradients = backprop.gradients(self.model, study.inputs(rows), y, study.task.slope, weights[:, 0])
        self._optimizer.apply(gradients, variables)
        return tf.stack(self._means(y, weights, out))

    def _linear_step(self, rows: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        """The same by a rule that remembers the rows, whose outputs are linear in the weights."""
        study, variables = self._study, self.model.trainable_variables
        y, weights = self._targets(rows, share)
        with tf.GradientTape(persistent=True) as tape:
            out = tf.cast(self.model(study.inputs(rows), training=True), tf.float32)
            penalty = tf.add_n([tf.zeros(()), *self.model.losses])
        slopes = study.task.slope(out, y) * tf.gather(study.weights[:, :1], rows)
        places = [variable.value for variable in variables]  # no zeros are made for Keras' own
        batch = LinearBatch(
            rows=rows,
            present=tf.sign(share),
            slopes=slopes,
            pull=lambda v_BC: tape.gradient(out, places, v_BC),
            penalty=tape.gradient(penalty, places, unconnected_gradients=tf.UnconnectedGradients.ZERO),
        )
        self._optimizer.descend(batch, variables)
        loss, measured = self._means(y, weights, out)
        return tf.stack([loss + penalty, measured])

    def _loss(self, rows: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of a batch with penalties, and its metric."""
        out = tf.cast(self.model(self._study.inputs(rows), training=True), tf.float32)
        loss, measured = self._means(*self._targets(rows, share), out)
        return loss + sum(self.model.losses), measured

    def _targets(self, rows: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The targets of a batch [B], and each row's part in the mean of the loss and in that of the metric [B, 2]."""
        return tf.gather(self._study.y, rows), tf.gather(self._study.weights, rows) * share[:, None]

    def _means(self, y: tf.Tensor, weights: tf.Tensor, out: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss of a batch without penalties, and its metric."""
        task = self._study.task
        return tf.reduce_sum(weights[:, 0] * task.losses(y, out)), tf.reduce_sum(weights[:, 1] * task.measure(y, out))

    def _closure(self, rows: tf.Tensor, share: tf.Tensor) -> Closure:
        model = self.model
        return Closure(lambda: self._loss(rows, share), model.trainable_variables, model.non_trainable_variables)

    def _take_snapshot(self, rows_TB: tf.Tensor, share_TB: tf.Tensor, share_T: tf.Tensor) -> None:
        """The gradient of all rows at the weights as they are, and these weights, for the epoch's steps to refer to."""
        variables = self.model.trainable_variables
        values = values_of(variables)

        def add(t: tf.Tensor, total: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            grads = self._closure(rows_TB[t], share_TB[t]).gradient(values).grads
            return t + 1, [known + tf.cast(share_T[t], g.dtype) * g for known, g in zip(total, grads, strict=True)]

        start = (0, [tf.zeros_like(value) for value in values])
        total = tf.while_loop(lambda t, _: t < rows_TB.shape[0], add, start, parallel_iterations=1)[1]
        self._optimizer.take_snapshot(variables, total)

    def _held_out(self) -> tf.Tensor:
        """The predictions [V, C] at the point to be evaluated; the weights are the old ones afterwards, to the bit."""
        self._traced["predict"] += 1
        return at_evaluation(self._optimizer, self.model.trainable_variables, self._predicted)

    def _predicted(self) -> tf.Tensor:
        """The predictions with the weights as they are, [V, C]; in chunks of one shape when V is large."""
        V = self._study.held_out
        if V <= CHUNK:
            return self._predictions(tf.range(V))
        rows_TB = tf.reshape(tf.minimum(tf.range(math.ceil(V / CHUNK) * CHUNK), V - 1), [-1, CHUNK])
        predicted_TBC = tf.map_fn(self._predictions, rows_TB, fn_output_signature=tf.float32)
        return tf.reshape(predicted_TBC, [-1, predicted_TBC.shape[-1]])[:V]

    def _predictions(self, rows: tf.Tensor) -> tf.Tensor:
        return self._predictions_of(self._study.inputs(rows, held_out=True))

    def _predictions_of(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._study.task.predictions(tf.cast(self.model(inputs, training=False), tf.float32))


def _as_it_is(model: keras.Model) -> keras.Model:
    return model


def _written(made: Callable[[], keras.Model]) -> bytes:
    """A model as the bytes of a `.keras` file."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        try:
            made().save(file)
        except Exception as error:  # a user's layers may raise anything
            said = str(error).strip().partition("\n")[0][:300]
            raise Unwritable(f"Keras cannot write the network: {type(error).__name__}: {said}") from error
        return file.read_bytes()


def _count(model: keras.Model) -> int:
    """Trainable weights."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)
