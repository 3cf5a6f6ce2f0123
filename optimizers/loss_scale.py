"""The scale of the loss in float16, whose small gradients would else be rounded to 0.

Micikevicius et al., *Mixed Precision Training*, ICLR 2018, section 3.2.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from optimizers.base import Rule, chosen_lanes

Tensor = Any
FIRST = 2.0**15
GROWS_AFTER = 2000


class LossScale:
    """A number that the loss is multiplied by before, and the gradients are divided by after back-propagation.

    It is halved by a step whose gradients are not finite, and that step changes nothing else; it is doubled after 2000 steps in a
    row whose gradients are: the rule of `keras.optimizers.LossScaleOptimizer`, for a rule that is applied inside a graph of ours.

    With `lanes=K`, as those of the rule, every lane has a scale of its own and leaves out steps of its own.
    """

    def __init__(self, lanes: int | None = None) -> None:
        self.lanes = lanes
        shape = () if lanes is None else (lanes,)
        self.scale = keras.Variable(tf.fill(shape, FIRST), dtype="float32", trainable=False, name="loss_scale")
        self.sound = keras.Variable(tf.zeros(shape, tf.int32), dtype="int32", trainable=False, name="sound_steps")

    @property
    def variables(self) -> list[keras.Variable]:
        """What a trial must keep to go on, of shape () or (K,)."""
        return [self.scale, self.sound]

    def reset(self, lane: int | Sequence[int] | None = None) -> None:
        """Begin anew: all of it, or one lane or several. Raises ValueError for a lane that does not exist."""
        chosen = chosen_lanes(lane, self.lanes)
        self.scale.assign(tf.where(chosen, FIRST, self.scale.value))
        self.sound.assign(tf.where(chosen, 0, self.sound.value))

    def up(self, loss: Tensor) -> Tensor:
        """What is to be differentiated, from a loss () or (K,)."""
        return loss * tf.cast(self.scale.value, loss.dtype)

    def apply(self, rule: Rule, gradients: Sequence[Any], variables: Sequence[keras.Variable]) -> None:
        """Update `variables` by `rule` from the gradients of a loss that went `up`; a lane only if all of its own are finite."""
        down = [None if gradient is None else self._divided(gradient) for gradient in gradients]
        finite = self._are_finite([gradient for gradient in down if gradient is not None])
        # Of a rule with lanes, what has no axis counts for all of them.
        state = [v for v in (*variables, *rule.variables) if self.lanes is None or len(v.shape)]
        before = [tf.identity(variable.value) for variable in state]
        rule.apply(down, variables)
        for variable, old in zip(state, before, strict=True):
            variable.assign(tf.where(self._spread(finite, old), variable.value, old))
        grown = tf.logical_and(finite, self.sound.value + 1 >= GROWS_AFTER)
        self.sound.assign(tf.where(tf.logical_and(finite, ~grown), self.sound.value + 1, 0))
        self.scale.assign(self.scale.value * tf.where(finite, tf.where(grown, 2.0, 1.0), 0.5))

    def _divided(self, gradient: Any) -> Tensor:
        dense = tf.convert_to_tensor(gradient)
        return dense / tf.cast(self._spread(self.scale.value, dense), dense.dtype)

    def _are_finite(self, gradients: Sequence[Tensor]) -> Tensor:
        axes = [None if self.lanes is None else list(range(1, gradient.shape.rank)) for gradient in gradients]
        each = [tf.reduce_all(tf.math.is_finite(g), axis) for g, axis in zip(gradients, axes, strict=True)]
        return tf.reduce_all(each, axis=0)

    def _spread(self, numbers: Tensor, x: Tensor) -> Tensor:
        """() or (K,) so that it broadcasts against `x`."""
        return numbers if self.lanes is None else tf.reshape(numbers, (-1, *[1] * (x.shape.rank - 1)))
