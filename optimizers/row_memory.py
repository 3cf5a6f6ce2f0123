"""The contract of the methods that remember every training row, for models that are linear in their weights.

Letters: N training rows, B rows of a batch, C outputs of the model. The outputs of row i are J_i w, linear in the weights w, so
the gradient of its loss f_i is J_iᵀ s_i with the slope s_i = ∂f_i/∂(J_i w), C numbers, and J_i follows from the row itself: the
memory is [N, C] however many weights there are (Schmidt, Le Roux and Bach 2017, section 4, on structured gradients).

Minimised is the mean of f_i over the N rows, plus penalties. These belong to no row: their gradient is exact at every step.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import keras.ops as ops
import tensorflow as tf

from optimizers.closure import AskingRule
from optimizers.contract import Tensor


class LinearBatch(NamedTuple):
    """A batch of a linear model.

    `rows` [B] are the places of its rows among the N; `present` [B] is 1, or 0 for a row that only fills the batch up; no row is
    present twice. `slopes` [B, C] are the s_i at the weights as they are. `pull` takes v [B, C] to Σ J_iᵀ v_i, a tensor for each
    weight; `penalty` is the gradient of the penalties, a tensor for each weight.
    """

    rows: Tensor
    present: Tensor
    slopes: Tensor
    pull: Callable[[Tensor], Sequence[Tensor]]
    penalty: Sequence[Tensor]


class Counts(NamedTuple):
    """How many rows there are, `N`; how many of them are in the batch, `m`; how many were met so far, this batch included."""

    N: int
    m: Tensor
    met: Tensor


class RowMemory(AskingRule):
    """x ← x - α (direction + ∇penalty), where the direction is made of the slopes that were found last of each row.

    The slot `total` is Σ J_iᵀ s_i over the memory, which starts with slopes of 0. An engine calls `build`, `remember` and then
    `descend` for every step.
    """

    slots: ClassVar = {"total": 0.0}
    carried: ClassVar = {"met": 0.0}
    wants = "it remembers a slope of each training row, and must know which rows a batch has. Use it in a study"
    _memory: keras.Variable | None = None

    def direction(self, total: Tensor, change: Tensor, counts: Counts) -> Tensor:
        """What one weight moves against, from `total` before the step and its change in it, both of the weight's shape."""
        raise NotImplementedError

    def remember(self, rows: int, outputs: int) -> None:
        """Makes the memory for so many training rows and outputs."""
        self._memory = self.add_variable((rows, outputs + 1), dtype=self._number_dtype, name="slopes")  # the last: 1 if met

    @property
    def slopes(self) -> Any:
        """The memory as an array [N, C]."""
        return self._known().numpy()[:, :-1]

    def descend(self, batch: LinearBatch, variables: Sequence[Any]) -> None:
        """One step of `variables`; the optimizer must be built.

        Raises ValueError before `remember`.
        """
        memory = self._known()
        found = tf.pad(ops.cast(batch.slopes, memory.dtype), [[0, 0], [0, 1]], constant_values=1)
        present = ops.cast(batch.present, memory.dtype)
        change = (found - tf.gather(memory.value, batch.rows)) * present[:, None]
        memory.value.scatter_add(tf.IndexedSlices(change, batch.rows))
        slopes, fresh = change[:, :-1], ops.sum(change[:, -1])
        self._carried["met"].assign_add(fresh)
        counts = Counts(memory.shape[0], ops.sum(present), self._carried["met"].value)
        pulled = batch.pull(ops.cast(slopes, batch.slopes.dtype))
        directions = [
            self._follow(variable, change, counts) + ops.cast(penalty, change.dtype)
            for variable, change, penalty in zip(variables, pulled, batch.penalty, strict=True)
        ]
        self._step(directions, variables)

    def update(self, g, x, slots, h):
        """One step along the direction; the total is kept by `descend`."""
        return x - h.learning_rate * g, slots

    def _follow(self, variable: Any, change: Tensor, counts: Counts) -> Tensor:
        """The direction of one weight; its total follows the memory."""
        (slot,) = self._slots_of(variable)
        change = ops.cast(change, slot.dtype)
        found = self.direction(tf.identity(slot.value), change, counts)
        slot.assign_add(change)
        return found

    def _known(self) -> keras.Variable:
        if self._memory is None:
            raise ValueError(f"{self.row.name}: remember(rows, outputs) comes before the first step")
        return self._memory

    def _state(self) -> Iterator[tuple[keras.Variable, float]]:
        yield from super()._state()
        if self._memory is not None:
            yield self._memory, 0.0
