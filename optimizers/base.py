"""The adapter: a Keras optimizer made of a pure rule (`optimizers.contract`)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

import keras
import keras.ops as ops
import numpy as np
import tensorflow as tf

from optimizers import CLIPS
from optimizers.clipping import Clipping
from optimizers.contract import Method, Tensor
from optimizers.numbers import wide


def chosen_lanes(lane: int | Sequence[int] | None, lanes: int | None) -> Tensor:
    """Which of the lanes are meant, bool of shape () or (K,): all by None, one or several by their numbers.

    Raises ValueError for a lane that does not exist.
    """
    if lane is None:
        return ops.ones(() if lanes is None else (lanes,), "bool")
    if lanes is None:
        raise ValueError("there are no lanes here; reset() resets all of it")
    if not tf.is_symbolic_tensor(lane) and not np.all((np.asarray(lane) >= 0) & (np.asarray(lane) < lanes)):
        raise ValueError(f"lane must be from 0 to {lanes - 1}; got {lane!r}")
    wanted = ops.reshape(ops.cast(lane, "int32"), (1, -1))
    return ops.any(ops.equal(ops.reshape(ops.arange(lanes), (-1, 1)), wanted), axis=1)


class Rule(Clipping):
    """A Keras optimizer made of a pure rule; see `optimizers.contract` for what a method states.

    `learning_rate` is a number, a schedule of `optimizers.schedules`, whose numbers become hyper-parameters called
    `schedule.<name>`, any other `LearningRateSchedule` or a callable without arguments; None takes the row's default.
    Options are the method's hyper-parameters (defaults in its row), `weight_decay` (decoupled: x -= learning_rate * weight_decay
    * x before the update), at most one of `clipnorm`, `clipvalue`, `global_clipnorm`, and Keras' own `name`, `use_ema`,
    `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor` and `gradient_accumulation_steps`.

    `lanes=K` trains K weights side by side: every variable of the model has a first axis K, a hyper-parameter is a number or K
    of them, and steps, clipping and decay act within a lane. A schedule sees each lane's own count of `apply` calls.

    Every hyper-parameter is a variable, so a traced or compiled step serves all its values. Two replicas sum their gradients
    before they are clipped. A gradient whose norm is not finite becomes NaN under `clipnorm` and `global_clipnorm`, unless the
    limit is infinite, which is none.

    Raises ValueError, saying what is allowed, for any other argument.
    """

    def __init__(self, learning_rate: Any = None, *, lanes: int | None = None, **options: Any) -> None:
        super().__init__(learning_rate, lanes=lanes, **options)
        self.slots = {name: getattr(self, start) if isinstance(start, str) else start for name, start in self.slots.items()}
        self._initial = {**self.carried, **({"in_evaluation": 0.0} if "eval_swap" in self.row.requires else {})}
        self._carried = {name: self._add_number(name, self._spread(value)) for name, value in self._initial.items()}
        self._slots: dict[str, list[keras.Variable | None]] = {}
        self._traits: list[Mapping[str, Any]] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the slots of `variables`, each of shape (...), or (K, ...) with lanes.

        Raises ValueError when a first axis is not K.
        """
        if self.built:
            return
        for variable in variables:
            if self.lanes is not None and tuple(variable.shape)[:1] != (self.lanes,):
                raise ValueError(f"with lanes={self.lanes} the first axis of each variable must be {self.lanes}; got {variable}")
        super().build(variables)
        shapes = [tuple(variable.shape)[0 if self.lanes is None else 1 :] for variable in variables]
        self._traits = self.traits(shapes, [_path(variable) for variable in variables])
        self._slots = {name: [] for name in self.slots}
        for variable, shape, traits in zip(variables, shapes, self._traits, strict=True):
            for name in self.slots:
                own = self.slot_shape(name, shape, traits)
                self._slots[name].append(self._add_slot(variable, name, None if own == shape else own))

    def _add_slot(self, variable: keras.Variable, name: str, own: tuple[int, ...] | None) -> keras.Variable | None:
        if self._overwrite_variable_with_gradient(variable):
            return None
        initializer = keras.initializers.Constant(np.float64(self.slots[name]))
        if own is None:
            return self.add_variable_from_reference(variable, name=name, initializer=initializer)
        lanes = () if self.lanes is None else (self.lanes,)
        title = f"{_path(variable)}/{name}".replace("/", "_")
        return self.add_variable((*lanes, *own), initializer, dtype=variable.dtype, name=title)

    def reset(self, lane: int | Sequence[int] | None = None) -> None:
        """Forgets the past of everything, or of one lane or several: slots, steps, averages, accumulated gradients.

        Hyper-parameters keep their values and nothing is traced anew. With gradient accumulation, reset lanes between two
        updates: the lanes share one count of micro-steps. Raises ValueError for a lane that does not exist.
        """
        chosen = chosen_lanes(lane, self.lanes)
        for variable, initial in self._state():
            here = self._expand(chosen, len(variable.shape))
            self.assign(variable, ops.where(here, ops.cast(initial, variable.dtype), ops.cast(variable, variable.dtype)))
        if lane is None:
            self._iterations.assign(0)

    def _state(self) -> Iterator[tuple[keras.Variable, float]]:
        columns = [(self._slots[name], initial) for name, initial in self.slots.items() if self.built]
        columns += [([self._carried[name]], initial) for name, initial in self._initial.items()]
        columns += [([self._lane_iterations], 0)] if self.lanes is not None else []
        columns += [(self._model_variables_moving_average, 0.0)] if self.built and self.use_ema else []
        columns += [(self._accumulated_gradients, 0.0)] if self.built and self.gradient_accumulation_steps else []
        return ((variable, initial) for column, initial in columns for variable in column if variable is not None)

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """One step from `grads`, each of its variable's shape; `None` and `tf.IndexedSlices` are allowed among them."""
        super().apply(grads, trainable_variables)
        if self.lanes is not None and len(grads):
            self._lane_iterations.assign_add(1)

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Mapping[tuple, Mapping[str, Tensor]]) -> None:
        """The step of one variable; `learning_rate` holds all numbers of the step, as `_backend_update_step` hands them on."""
        start, slots, h = self._at(variable, learning_rate)
        x = start
        if "weight_decay" not in self._hypers or not self._use_weight_decay(variable):
            h.decay = h.weight_decay = 0.0
        elif self.decays_first:
            x = x - h.decay * x
        moved, slots = self.update(gradient, x, slots, h)
        for slot, value in zip(self._slots_of(variable), slots, strict=True):
            self.assign(slot, value)
        self._move(variable, start, moved)

    def _move(self, variable: Any, start: Tensor, moved: Tensor) -> None:
        """Assigns `moved`; in place where a graph has it as a chain of sums and differences from the variable's value `start`.

        Without XLA that saves a buffer a variable.
        """
        in_place, chain, value = {"Sub": self.assign_sub, "AddV2": self.assign_add}, [], moved
        if tf.is_symbolic_tensor(start) and start.op.type == "ReadVariableOp":
            while value is not start and value.op.type in in_place and value.op.inputs[1].shape == start.shape:
                chain.append((in_place[value.op.type], value.op.inputs[1]))
                value = value.op.inputs[0]
        for act, operand in reversed(chain) if value is start else [(self.assign, moved)]:
            act(variable, operand)

    def _backend_apply_gradients(self, grads: Sequence[Tensor], trainable_variables: Sequence[Any]) -> None:
        pairs = zip(grads, trainable_variables, strict=True)
        grads = [ops.cast(tf.convert_to_tensor(gradient), wide(variable.dtype)) for gradient, variable in pairs]
        super()._backend_apply_gradients(grads, trainable_variables)

    def _backend_update_step(self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Any) -> None:
        del learning_rate  # among the numbers
        numbers = self._numbers(self._gathered(grads, trainable_variables))
        shaped = self._shaped(numbers, self._trainable_variables)  # of those too that sit this step out
        super()._backend_update_step(grads, trainable_variables, shaped)
        following = {**numbers, "in_evaluation": ops.zeros_like(numbers["k"])}
        for name, variable in self._carried.items():
            self.assign(variable, following[name])

    def _distributed_tf_update_step(self, distribution: Any, grads_and_vars: Sequence[tuple], learning_rate: Any) -> None:
        super()._distributed_tf_update_step(distribution, grads_and_vars, learning_rate)
        moved = {self._get_variable_index(variable) for _, variable in grads_and_vars}
        for variable in self._swapped():
            if self._get_variable_index(variable) not in moved:
                distribution.extended.update(_raw(variable), self._stay, args=(learning_rate,), group=False)

    def _stay(self, variable: Any, learning_rate: Mapping[tuple, Mapping[str, Tensor]]) -> None:
        """Lets a weight that sits a step out, frozen at the point to be evaluated, forget its other point: else the next swap
        would move it."""
        _, _, h = self._at(variable, learning_rate)
        slot = dict(zip(self.slots, self._slots_of(variable), strict=True)).get(self.leads)
        if slot is not None:
            self.assign(slot, ops.where(ops.equal(h.in_evaluation, 1), 0.0, slot))

    def _numbers(self, gathered: Mapping[str, Tensor] = MappingProxyType({})) -> dict[str, Tensor]:
        h = {**self._given(), **gathered}
        return {**h, **self.per_step(SimpleNamespace(**h))}

    def _given(self) -> dict[str, Tensor]:
        given = {**self._hypers, **self._carried, "learning_rate": self.learning_rate, "k": self.steps + 1}
        h = {name: self._tensor(number) for name, number in given.items() if name not in CLIPS}
        if "weight_decay" in h:
            h["decay"] = h["learning_rate"] * h["weight_decay"]
        return h

    def _gathered(self, grads: Sequence[Tensor], variables: Sequence[Any]) -> dict[str, Tensor]:
        if type(self).gather is Method.gather:  # most rules: their graphs stay as small as they were
            return {}
        shaped, sums = self._shaped(self._given(), variables), Counter()
        for gradient, variable in zip(grads, variables, strict=True):
            for name, part in self.gather(gradient, *self._at(variable, shaped)).items():
                sums[name] += self._tensor(part)
        return dict(sums)

    def _shaped(self, numbers: Mapping[str, Tensor], variables: Sequence[Any]) -> dict[tuple, dict[str, Tensor]]:
        keys = dict.fromkeys(self._key(variable) for variable in variables)
        return {
            (dtype, rank): {name: ops.cast(self._expand(number, rank), dtype) for name, number in numbers.items()}
            for dtype, rank in keys
        }

    def _key(self, variable: Any) -> tuple[str, int]:
        return wide(variable.dtype), 0 if self.lanes is None else len(variable.shape)

    def _at(self, variable: Any, shaped: Mapping[tuple, Mapping[str, Tensor]]) -> tuple[Tensor, tuple, SimpleNamespace]:
        slots = tuple(tf.convert_to_tensor(slot) for slot in self._slots_of(variable))
        x = ops.cast(tf.convert_to_tensor(variable), wide(variable.dtype))
        traits = self._traits[self._get_variable_index(variable)]
        return x, slots, SimpleNamespace(**shaped[self._key(variable)], **traits)

    def _slots_of(self, variable: Any) -> list[keras.Variable]:
        index = self._get_variable_index(variable)
        return [column[index] for column in self._slots.values()]

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: `update_step` decays, in the compute dtype and within a lane."""

    def swap_to_evaluation(self) -> None:
        """Writes the point to be evaluated into the model's variables; nothing to do for a rule that stores that point."""
        self._swap(self.evaluation_point, to=1.0)

    def swap_to_training(self) -> None:
        """Takes `swap_to_evaluation` back, up to rounding; weights that were set in between are kept.

        A step does so too (Keras' `fit` leaves the evaluation point in the model, and may be called again), but its gradient
        belongs to the evaluation point then.
        """
        self._swap(self.training_point, to=0.0)

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """What Keras calls at the end of `fit`: the point to be evaluated, or the average with `use_ema`."""
        self.swap_to_evaluation()
        super().finalize_variable_values(var_list)

    def _swap(self, point: Any, to: float) -> None:
        if "in_evaluation" not in self._initial:
            return
        shaped = self._shaped(self._given(), self._trainable_variables)
        for variable in self._swapped():
            x, slots, h = self._at(variable, shaped)
            self.assign(variable, ops.where(ops.not_equal(h.in_evaluation, to), point(x, slots, h), x))
        flag = self._carried["in_evaluation"]
        flag.assign(ops.full(flag.shape, to, flag.dtype))

    def _swapped(self) -> list[keras.Variable]:
        """The weights of which two points are known; those of float8 that their gradient overwrites have one."""
        known = self._trainable_variables if "in_evaluation" in self._initial else []
        return [variable for variable in known if not self._overwrite_variable_with_gradient(variable)]

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        if not self.use_ema:
            return
        kept = self.ema_momentum * ops.cast(ops.not_equal(self.steps, 0), self._number_dtype)
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                share = ops.cast(self._expand(kept, len(average.shape)), average.dtype)
                average.assign(share * average + (1 - share) * ops.cast(variable, average.dtype))

    def _overwrite_model_variables_with_average_value(self, trainable_variables: Sequence[Any]) -> None:
        for variable in trainable_variables:  # at the end of `fit` without those that were frozen since `build`
            average = self._model_variables_moving_average[self._get_variable_index(variable)]
            if average is not None:
                self._distribution_strategy.extended.update(_raw(variable), self.assign, args=(average,))


def _raw(variable: Any) -> Any:
    """TensorFlow's own variable, which a strategy can update."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _path(variable: Any) -> str:
    return getattr(variable, "path", variable.name)  # a tf.Variable has no path
