"""Training with Keras' own `fit` by a method that needs more than gradients."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from optimizers.closure import AskingRule, Closure, ClosureRule, values_of


@keras.saving.register_keras_serializable(package="tuner")
class ClosureModel(keras.Model):
    """Any Keras model, trainable by the methods that require "closure": `ClosureModel(model).compile("tuner>Armijo", ...)`.

    It shares the model's weights, and a loss, penalties, metrics, sample weights, callbacks and `.keras` files work as usual.

    For a "full_batch" method a batch is all rows: `batch_size` may be left out. For a "snapshot" method `fit` takes the snapshot
    at the start of every epoch, from arrays or from a finite `tf.data.Dataset` that can be gone through twice; before
    `train_on_batch` it is yours to take.

    Raises ValueError for other optimizers, for several replicas (each would search its own line) and for data that do not fit.
    """

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(**options)
        self.model = model
        self.built = model.built

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: FBT001 Keras' signature
        """What the model returns."""
        return self.model(inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        """The model inside."""
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "ClosureModel":
        """The inverse of `get_config`."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(**{**config, "model": model})

    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, **options: Any) -> Any:
        """As Keras' own; see the class for what a batch is."""
        self._assert_compile_called("fit")
        requires = self._checked_rule().row.requires
        if "full_batch" in requires:
            batch_size = _all_rows(x, batch_size)
        if "snapshot" in requires:
            batches = _epoch(x, y, batch_size, options)
            every_epoch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: self.take_snapshot(batches))
            options["callbacks"] = [every_epoch, *keras.tree.flatten(options.get("callbacks") or [])]
        return super().fit(x, y, batch_size, epochs, **options)

    def make_train_function(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 Keras' signature
        """As Keras' own; what `fit` and `train_on_batch` begin with."""
        self._checked_rule()
        if force or self.train_function is None:
            self._batch_gradient = tf.function(self._gradient, jit_compile=self.jit_compile, reduce_retracing=True)
        super().make_train_function(force)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the method from a batch; the metrics are those of the weights before it."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._symbolic_build(data_batch=(x, y, sample_weight))  # no evaluation can make a variable, being in its own scope
        closure = self._closure(x, y, sample_weight)
        passed = self.optimizer.descend(closure, self.trainable_variables)
        closure.keep(passed)
        self._loss_tracker.update_state(passed.loss, sample_weight=tf.shape(keras.tree.flatten(x)[0])[0])
        return self.compute_metrics(x, y, passed.outputs, sample_weight=sample_weight)

    def take_snapshot(self, batches: Iterable[tuple]) -> None:
        """Makes the weights the method's snapshot; its full gradient is the mean over `batches`, each weighted by its rows.

        A batch is (x, y) or (x, y, sample_weight).
        """
        self.make_train_function()
        total, count = None, 0
        for batch in batches:
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
            self._symbolic_build(data_batch=(x, y, sample_weight))
            rows = _rows(x)
            scaled = [rows * gradient for gradient in self._batch_gradient(x, y, sample_weight)]
            total = scaled if total is None else [known + new for known, new in zip(total, scaled, strict=True)]
            count += rows
        self.optimizer.take_snapshot(self.trainable_variables, [gradient / count for gradient in total])

    def _checked_rule(self) -> ClosureRule:
        rule = self.optimizer
        if isinstance(rule, keras.optimizers.LossScaleOptimizer):
            raise ValueError("no loss is scaled here: use mixed_bfloat16, or compile with auto_scale_loss=False")
        if isinstance(rule, AskingRule) and not isinstance(rule, ClosureRule):
            raise ValueError(f"{rule.row.name} needs more than a closure: {rule.wants}")
        if not isinstance(rule, ClosureRule):
            raise ValueError(f"{rule.name} needs gradients only: compile the model itself, without ClosureModel")
        if (replicas := self.distribute_strategy.num_replicas_in_sync) > 1:
            raise ValueError(f"{rule.row.name} trains on one replica, not {replicas}: each would see another loss")
        return rule

    def _gradient(self, x: Any, y: Any, sample_weight: Any) -> list[Any]:
        return self._closure(x, y, sample_weight).gradient(values_of(self.trainable_variables)).grads

    def _closure(self, x: Any, y: Any, sample_weight: Any) -> Closure:
        def evaluate() -> tuple[Any, Any]:
            outputs = self(x, training=True)
            return self.compute_loss(x, y, outputs, sample_weight, training=True), outputs

        return Closure(evaluate, self.trainable_variables, [*self.non_trainable_variables, *self.metrics_variables])


def _rows(x: Any) -> int:
    return keras.tree.flatten(x)[0].shape[0]


def _all_rows(x: Any, batch_size: int | None) -> int | None:
    """The size of a batch of all rows; None for a dataset, which has its own."""
    if isinstance(x, tf.data.Dataset):
        if (batches := int(x.cardinality())) not in (1, tf.data.UNKNOWN_CARDINALITY):
            raise ValueError(f"the method descends the loss of all rows: the dataset must be one batch, not {batches}")
        return None
    if batch_size is not None and batch_size < _rows(x):
        raise ValueError(f"the method descends the loss of all rows: batch_size must be {_rows(x)} or None, not {batch_size}")
    return _rows(x)


def _epoch(x: Any, y: Any, batch_size: int | None, options: dict[str, Any]) -> tf.data.Dataset:
    """The batches of an epoch, in any order."""
    if given := [name for name in ("class_weight", "validation_split", "steps_per_epoch") if options.get(name)]:
        raise ValueError(f"a snapshot takes the rows as they are: use sample_weight or validation_data, not {', '.join(given)}")
    if isinstance(x, tf.data.Dataset):
        if x.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise ValueError("a snapshot needs all rows: the dataset must end")
        return x
    arrays = tuple(part for part in (x, y, options.get("sample_weight")) if part is not None)
    if any(not hasattr(array, "shape") for array in keras.tree.flatten(arrays)):
        raise ValueError(f"a snapshot needs all rows: x must be arrays or a tf.data.Dataset, not {type(x).__name__}")
    return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size or 32)
