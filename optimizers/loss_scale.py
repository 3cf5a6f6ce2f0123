"""The scale of the loss in float16, whose small gradients would else be rounded to 0.

Micikevicius et al., *Mixed Precision Training*, ICLR 2018, section 3.2.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

Tensor = Any
FIRST = 2.0**15
GROWS_AFTER = 2000


class LossScale:
    """A number that the loss is multiplied by before, and the gradients are divided by after back-propagation.

    It is halved by a step whose gradients are not finite, and that step changes nothing else; it is doubled after 2000 steps in a
    row whose gradients are: the rule of `keras.optimizers.LossScaleOptimizer`, for a rule that is applied inside a graph of ours.
    """

    def __init__(self) -> None:
        self.scale = keras.Variable(FIRST, dtype="float32", trainable=False, name="loss_scale")
        self.sound = keras.Variable(0, dtype="int32", trainable=False, name="sound_steps")

    @property
    def variables(self) -> list[keras.Variable]:
        """What a trial must keep to go on."""
        return [self.scale, self.sound]

    def reset(self) -> None:
        """Begin anew."""
        self.scale.assign(FIRST)
        self.sound.assign(0)

    def up(self, loss: Tensor) -> Tensor:
        """What is to be differentiated."""
        return loss * tf.cast(self.scale.value, loss.dtype)

    def apply(self, rule: Any, gradients: Sequence[Any], variables: Sequence[keras.Variable]) -> None:
        """Update `variables` by `rule` from the gradients of a loss that went `up`, unless one of them is not finite."""
        down = [_divided(gradient, self.scale.value) for gradient in gradients]
        flat = [g.values if isinstance(g, tf.IndexedSlices) else g for g in down if g is not None]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(values)) for values in flat])

        def step() -> tf.Tensor:
            rule.apply(down, variables)
            return tf.constant(0)

        tf.cond(finite, step, lambda: tf.constant(0))
        grown = tf.logical_and(finite, self.sound.value + 1 >= GROWS_AFTER)
        self.sound.assign(tf.where(tf.logical_and(finite, ~grown), self.sound.value + 1, 0))
        self.scale.assign(self.scale.value * tf.where(finite, tf.where(grown, 2.0, 1.0), 0.5))


def _divided(gradient: Any, scale: Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_divided(gradient.values, scale), gradient.indices, gradient.dense_shape)
    return None if gradient is None else gradient / tf.cast(scale, gradient.dtype)
