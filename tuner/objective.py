"""What trials are trained for: the data on the device, the loss, and what is measured.

Shapes: N training rows, V validation rows, B batch, C outputs of the network.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models import backprop
from tuner.data import Data, Split, class_weights
from tuner.metrics import METRICS
from tuner.spec import StudySpec

Measure = Callable[[Any], float]
"""A metric of some predictions, by the rows that count: indices, or a slice."""


class Objective:
    """The data on the device and what is measured on them, once for all trials."""

    def __init__(self, spec: StudySpec, data: Data) -> None:
        self.task: Task = _Regression(data) if data.facts.task == "regression" else _Classification(spec)
        self._epochs, self.rows, self.held_out = spec.train.epochs, len(data.train.y), len(data.validation.y)
        self.scales_loss = spec.train.precision == "mixed_float16"
        self.explicit = spec.train.backprop == "explicit"
        self.y = tf.constant(self.task.targets(data.train.y))
        self.weights = tf.constant(np.stack(_weights(spec, data), axis=1), tf.float32)
        self._x, self._held_out_x = tf.constant(data.train.x), tf.constant(data.validation.x)
        self._offset, self._scale = (tf.constant(a, tf.float32) for a in (data.offset, data.scale))
        self._validation = data.validation
        named = (*spec.train.metrics, spec.objective.metric.removeprefix("val_"))
        usual = (name for name, row in METRICS.items() if row.default and row.task == data.facts.task)
        self._metrics = [name for name in dict.fromkeys((*usual, *named)) if name != "loss"]

    def steps(self, batch_size: int) -> int:
        """How many steps a trial trains that is not stopped."""
        return self._epochs * math.ceil(self.rows / batch_size)

    def shares(self, batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Each row's part in the mean of its step [T, B], and each step's in that of the epoch [T].

        What fills the last batch up weighs nothing.
        """
        N, B = self.rows, batch_size
        T, last = math.ceil(N / B), (N - 1) % B + 1
        share_TB = np.full([T, B], 1 / B, np.float32)
        share_TB[-1] = [1 / last] * last + [0] * (B - last)
        return tf.constant(share_TB), tf.constant([B / N] * (T - 1) + [last / N])

    def inputs(self, rows: tf.Tensor, *, held_out: bool = False) -> tf.Tensor:
        """Normalised inputs of training or validation rows, [B] -> [B, ...]."""
        return self.normalised(tf.gather(self._held_out_x if held_out else self._x, rows))

    def normalised(self, x: Any) -> tf.Tensor:
        """Inputs as a network sees them, [B, ...]."""
        return (tf.cast(x, tf.float32) - self._offset) * self._scale

    def served(self, network: keras.Model) -> keras.Model:
        """A network of normalised inputs as one that takes rows as they are in the data, [B, ...] -> [B, C].

        It gives probabilities, or predictions in the units of the targets. What is added are Keras' own layers, which compute
        with the numbers that training computes with.
        """
        inputs = keras.Input(self._x.shape[1:], name="rows")
        steps = ((1.0, -self._offset.numpy()), (self._scale.numpy(), 0.0))
        x = inputs
        for scale, offset in steps:
            x = keras.layers.Rescaling(scale, offset, dtype="float32")(x)
        return keras.Model(inputs, self.task.answer(network(x)))

    def scores(self, predicted: NDArray[np.float32]) -> dict[str, float]:
        """What is reported of the validation split, from the predictions [V, C] of `Task.predictions`."""
        found = self.measured(self._validation, predicted)
        return {f"val_{name}": of(slice(None)) for name, of in found.items()}

    def measured(self, split: Split, predicted: NDArray[np.float32]) -> dict[str, Measure]:
        """Loss and metrics of a split by their names, each from the predictions [N, C] of `Task.predictions`."""
        p_N, w_N = self.task.in_units(predicted.astype(np.float64)), _row_weights(split)

        def on(metric: Callable[..., float]) -> Measure:
            def of(rows: Any) -> float:
                with np.errstate(all="ignore"):  # a network that diverges is reported, not warned about
                    return metric(split.y[rows], p_N[rows], w_N[rows])

            return of

        return {"loss": on(self.task.held_out_loss), **{name: on(METRICS[name].of) for name in self._metrics}}


@contextmanager
def precision(spec: StudySpec) -> Iterator[None]:
    """Whatever layer is made inside computes as the study says, unless it has a dtype of its own."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.train.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def at_evaluation(rule: Any, variables: Sequence[Any], predicted: Callable[[], tf.Tensor]) -> tf.Tensor:
    """What is predicted at the point that the optimizer wants evaluated; the weights are the old ones afterwards, to the bit."""
    if "eval_swap" not in rule.row.requires:
        return predicted()
    kept = [tf.identity(variable.value) for variable in variables]
    rule.swap_to_evaluation()
    found = predicted()
    rule.swap_to_training()
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)
    return found


class Task(Protocol):
    """What classification and regression differ in; `out` [B, C] is what the network returns."""

    measured: str  # the training metric

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        """The targets [N] as the loss takes them."""
        ...

    def losses(self, y: tf.Tensor, out: tf.Tensor) -> tf.Tensor:
        """The loss of every row [B]."""
        ...

    def slope(self, out: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The derivative of every row's loss by what the network returns, [B, C]."""
        ...

    def measure(self, y: tf.Tensor, out: tf.Tensor) -> tf.Tensor:
        """The training metric of every row [B]."""
        ...

    def predictions(self, out: tf.Tensor) -> tf.Tensor:
        """What goes to the host, [B, C]."""
        ...

    def in_units(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predictions as `tuner.metrics` takes them."""
        ...

    def answer(self, out: Any) -> Any:
        """Layers that make of what a network returns, [B, C], what a person wants to know: [B, C]."""
        ...

    def held_out_loss(self, y: NDArray[Any], p: NDArray[np.float64], w: NDArray[np.float64]) -> float:
        """The loss without penalties and class weights, from the predictions of `in_units`."""
        ...


class _Classification:
    """Cross entropy in nats, accuracy, probabilities."""

    measured = "accuracy"

    def __init__(self, spec: StudySpec) -> None:
        self._logits = not spec.model.is_code or spec.model.output == "logits"

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        return y.astype(np.int32)

    def losses(self, y: tf.Tensor, out: tf.Tensor) -> tf.Tensor:
        return keras.losses.sparse_categorical_crossentropy(y, out, from_logits=self._logits)

    def slope(self, out: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return backprop.cross_entropy(out, tf.one_hot(y, out.shape[-1], dtype=out.dtype))

    def measure(self, y: tf.Tensor, out: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.equal(tf.argmax(out, axis=-1, output_type=tf.int32), y), tf.float32)

    def predictions(self, out: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(out) if self._logits else out

    def in_units(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        return predicted

    def answer(self, out: Any) -> Any:
        return keras.layers.Softmax(dtype="float32")(out) if self._logits else out

    def held_out_loss(self, y: NDArray[Any], p: NDArray[np.float64], w: NDArray[np.float64]) -> float:
        return METRICS["cross_entropy"].of(y, p, w)


class _Regression:
    """Squared error of standardised targets, absolute error in the units of the targets."""

    measured = "mae"

    def __init__(self, data: Data) -> None:
        self._offset, self._scale = data.target_offset, data.target_scale

    def targets(self, y: NDArray[Any]) -> NDArray[Any]:
        return ((y - self._offset) / self._scale).astype(np.float32)

    def losses(self, y: tf.Tensor, out: tf.Tensor) -> tf.Tensor:
        return tf.square(out[..., 0] - y)

    def slope(self, out: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return 2 * backprop.squared_error(out, y[:, None])

    def measure(self, y: tf.Tensor, out: tf.Tensor) -> tf.Tensor:
        return tf.abs(out[..., 0] - y) * self._scale

    def predictions(self, out: tf.Tensor) -> tf.Tensor:
        return out

    def in_units(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        return predicted[:, 0] * self._scale + self._offset

    def answer(self, out: Any) -> Any:
        return keras.layers.Rescaling(self._scale, self._offset, dtype="float32")(out)

    def held_out_loss(self, y: NDArray[Any], p: NDArray[np.float64], w: NDArray[np.float64]) -> float:
        return METRICS["mse"].of(y, p, w) / self._scale**2


def _row_weights(split: Split) -> NDArray[np.float64]:
    return np.ones(len(split.y)) if split.weight is None else split.weight.astype(np.float64)


def _weights(spec: StudySpec, data: Data) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each training row weighs in the loss and in the training metric, [N] each, with mean 1.

    Were the mean another, a weight would change the step as well as the balance of the rows.
    """
    measured = _row_weights(data.train)
    counted = measured
    if spec.train.class_weight == "balanced":
        counted = measured * class_weights(data.train, data.facts.outputs)[data.train.y]
    return counted / counted.mean(), measured / measured.mean()
