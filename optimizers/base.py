"""The contract: an optimizer is a pure rule, and `Rule` makes a Keras optimizer of it.

A method is a subclass that states

    row        its row of the table (`optimizers.OPTIMIZERS`), where the defaults live
    allowed    its hyper-parameters and the interval that each must lie in
    slots      what it remembers of each weight, with the initial value or the choice that holds it
    carried    numbers that it remembers from step to step, with the initial value
    choices    its options that are no numbers, and what each may be, the default first; read as attributes
    per_step   what depends on the hyper-parameters and the step number alone; computed once a step
    update     the formula

and, where weight decay has a place inside the formula, `decays_first = False`: `update` then uses `h.weight_decay` itself, which
is 0 for a weight that does not decay;

and, where it stores another point than the one to be evaluated ("eval_swap"), `evaluation_point` and `training_point`; its
`update` must then start from either: `h.in_evaluation` is 1 when the weight is the point to be evaluated, else 0.

Letters: `K` lanes; `k` = 1, 2, ... the step; `g` gradient, `x` weight and slots, of one shape whose first axis is `K` when there
are lanes; `h` the step's numbers: every hyper-parameter, `k`, what is carried, what `per_step` adds, each a tensor that
broadcasts against `x` (shape `()`, or `(K, 1, ..., 1)` with lanes).

The rule computes in float32 for half-precision weights (its slots are float32 then) and in the weight's own dtype otherwise.
Hyper-parameters are stored in float64 when `keras.config.floatx()` is float64, in float32 otherwise.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar

import keras
import keras.ops as ops
import numpy as np
import tensorflow as tf

from optimizers import Row
from optimizers.interval import LIMIT, NON_NEGATIVE, Interval
from optimizers.schedules import Schedule

Tensor = Any


CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
_ALLOWED_EVERYWHERE = {"learning_rate": NON_NEGATIVE, "weight_decay": NON_NEGATIVE, **dict.fromkeys(CLIPS, LIMIT)}
_SCHEDULE = "schedule."
_KERAS_OPTIONS = (
    "name",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


def unbias(beta: Tensor, k: Tensor) -> Tensor:
    """1 / (1 - beta^k), which makes a moving average that started at 0 an unbiased one (Kingma and Ba 2015, section 3).

    `expm1` keeps in float32 the digits that 1 - beta^k loses while beta^k is near 1.
    """
    return -1.0 / ops.expm1(k * ops.log(beta))


def shrink(x: Tensor, by: Tensor) -> Tensor:
    """sign(x) max(|x| - by, 0): `x` moved towards 0 and stopped there (the proximal map of by ‖x‖₁)."""
    return ops.sign(x) * ops.maximum(ops.abs(x) - by, 0.0)


def _hyper_property(name: str) -> property:
    def get(self: "Rule") -> Any:
        return self._hypers.get(name)

    def put(self: "Rule", value: Any) -> None:
        if value is not None:
            self.set_hyper(name, value)

    return property(get, put, doc=f"The variable of `{name}`, or None where the constructor got none.")


class Rule(keras.optimizers.Optimizer):
    """A Keras optimizer made of a pure rule; see the module's docstring for what a method states.

    `learning_rate` is a number, a schedule of `optimizers.schedules`, whose numbers become hyper-parameters called
    `schedule.<name>`, any other `LearningRateSchedule` or a callable without arguments; None takes the row's default.
    Options are the method's hyper-parameters (defaults in its row), `weight_decay` (decoupled: x -= learning_rate * weight_decay
    * x before the update), at most one of `clipnorm`, `clipvalue`, `global_clipnorm`, and Keras' own `name`, `use_ema`,
    `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor` and `gradient_accumulation_steps`.

    `lanes=K` trains K weights side by side: every variable of the model has a first axis K, a hyper-parameter is a number or K
    of them, and steps, clipping and decay act within a lane. A schedule sees each lane's own count of `apply` calls.

    Every hyper-parameter is a variable, so a traced or compiled step serves all its values. Two replicas sum their gradients
    before they are clipped. A gradient whose norm is not finite becomes NaN under `clipnorm` and `global_clipnorm`.

    Raises ValueError, saying what is allowed, for any other argument.
    """

    row: ClassVar[Row]
    allowed: ClassVar[Mapping[str, Interval]] = {}
    slots: ClassVar[Mapping[str, float | str]] = {}
    carried: ClassVar[Mapping[str, float]] = {}
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    decays_first: ClassVar[bool] = True

    _hypers: Mapping[str, keras.Variable] = {}  # what the four properties meet while Keras' constructor runs
    weight_decay = _hyper_property("weight_decay")
    clipnorm = _hyper_property("clipnorm")
    clipvalue = _hyper_property("clipvalue")
    global_clipnorm = _hyper_property("global_clipnorm")

    def __init__(self, learning_rate: Any = None, *, lanes: int | None = None, **options: Any) -> None:
        chosen = self._take_choices(options)
        hypers = self._take_hypers(options)
        self._check_options(lanes, hypers, options)
        rate = self.row.learning_rate.default if learning_rate is None else learning_rate
        super().__init__(learning_rate=rate if callable(rate) else float, **options)  # any callable: Keras makes no variable
        for name, value in chosen.items():
            setattr(self, name, value)
        self.slots = {name: chosen[start] if isinstance(start, str) else start for name, start in self.slots.items()}
        self.lanes = lanes
        self._number_dtype = "float64" if keras.config.floatx() == "float64" else "float32"
        self._scheduled = self._take_schedule(rate) if isinstance(rate, Schedule) else {}
        if not callable(rate):
            self._learning_rate = self._add_number("learning_rate", self._checked("learning_rate", rate))
        self._hypers = {name: self._add_number(name, self._checked(name, value)) for name, value in hypers.items()}
        self._initial = {**self.carried, **({"in_evaluation": 0.0} if "eval_swap" in self.row.requires else {})}
        self._carried = {name: self._add_number(name, self._spread(value)) for name, value in self._initial.items()}
        if lanes is not None:
            self._lane_iterations = self.add_variable((lanes,), dtype="int", aggregation="only_first_replica", name="lane")
        self._slots = {}
        self._traits: list[Mapping[str, Any]] = []

    def traits(self, shapes: Sequence[tuple[int, ...]], paths: Sequence[str]) -> list[Mapping[str, Any]]:
        """What is fixed for each weight from the start, to be added to its `h`; `shapes` are those within a lane."""
        del paths  # nothing to add
        return [{} for _ in shapes]

    def slot_shape(self, name: str, shape: tuple[int, ...], traits: Mapping[str, Any]) -> tuple[int, ...]:
        """The shape of a slot of a weight of `shape` with these `traits`, both within a lane; `()` for a slot without use."""
        del name, traits  # all are like the weight
        return shape

    def gather(self, g: Tensor, x: Tensor, slots: tuple, h: SimpleNamespace) -> dict[str, Tensor]:
        """What `per_step` wants to know of all weights together: one weight's part of each sum, of shape () or (K,)."""
        del g, x, slots, h  # nothing to sum
        return {}

    def per_step(self, h: SimpleNamespace) -> dict[str, Tensor]:
        """Numbers to add to `h`, of shape () or (K,); one with a carried name is that number's next value.

        `h` has no axes here but K, and holds the sums of `gather` over all weights.
        """
        del h  # nothing to add
        return {}

    def update(self, g: Tensor, x: Tensor, slots: tuple, h: SimpleNamespace) -> tuple[Tensor, tuple]:
        """The weight and its slots after one step, each of its own shape."""
        raise NotImplementedError

    def total(self, values: Tensor) -> Tensor:
        """The sum of the values of one weight, within a lane: of shape () or (K,)."""
        return ops.sum(values, axis=None if self.lanes is None else tuple(range(1, len(values.shape))))

    def norm(self, values: Tensor) -> Tensor:
        """The Euclidean norm of the values of one weight, within a lane; broadcasts against them."""
        return self._expand(ops.sqrt(self.total(ops.square(values))), len(values.shape))

    def matrix(self, values: Tensor) -> Tensor:
        """The values of one weight of two or more axes as a matrix [all axes but the last, last], within a lane."""
        return ops.reshape(values, ((-1,) if self.lanes is None else (self.lanes, -1)) + (values.shape[-1],))

    def evaluation_point(self, x: Tensor, slots: tuple, h: SimpleNamespace) -> Tensor:
        """The point to be evaluated when the weight stored is `x`; `h` holds the hyper-parameters, `k` and what is carried."""
        del slots, h  # the stored weight is the point
        return x

    def training_point(self, x: Tensor, slots: tuple, h: SimpleNamespace) -> Tensor:
        """The inverse of `evaluation_point`."""
        del slots, h  # the stored weight is the point
        return x

    def hyper(self, name: str) -> Any:
        """The value of a hyper-parameter, shape () or (K,): its variable, or the current rate."""
        return self.learning_rate if name == "learning_rate" else self.variable_of(name)

    def set_hyper(self, name: str, value: Any) -> None:
        """Sets a hyper-parameter to a number or, with lanes, to one or K numbers; nothing is traced anew.

        With a schedule of `optimizers.schedules`, `learning_rate` is its highest. Raises ValueError for an unknown name, a value
        outside its interval, and for the rate of any other schedule. The value of a symbolic tensor cannot be checked.
        """
        self.variable_of(name).assign(self._checked(name, value))

    @property
    def learning_rate(self) -> Any:
        """The current rate, shape () or (K,); set it to a number, with lanes to one or K, or to a schedule."""
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if isinstance(value, Schedule):
            raise ValueError(f"a {type(value).__name__} brings variables of its own; give it to the constructor")
        if callable(value) or not isinstance(self._learning_rate, keras.Variable):
            keras.optimizers.Optimizer.learning_rate.fset(self, value)
            self._scheduled = {}
        else:
            self.set_hyper("learning_rate", value)

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor as plain JSON; numbers in the shortest form that gives the same value."""
        return {
            **{name: getattr(self, name) for name in _KERAS_OPTIONS},
            "learning_rate": self._plain_rate(),
            "lanes": self.lanes,
            **{name: getattr(self, name) for name in self.choices},
            **{name: self._plain(variable) for name, variable in self._hypers.items()},
        }

    def _plain_rate(self) -> Any:
        rate = self._learning_rate
        if isinstance(rate, keras.Variable):
            return self._plain(rate)
        numbers = {name.removeprefix(_SCHEDULE): self._plain(variable) for name, variable in self._scheduled.items()}
        return keras.saving.serialize_keras_object(type(rate)(**numbers) if numbers else rate)

    def _take_schedule(self, schedule: Schedule) -> dict[str, keras.Variable]:
        allowed = {self._scheduled_name(name): interval for name, interval in schedule.intervals.items()}
        self.allowed = {**self.allowed, **allowed}
        values = {self._scheduled_name(name): value for name, value in schedule.numbers.items()}
        return {name: self._add_number(name, self._checked(name, value)) for name, value in values.items()}

    def _scheduled_name(self, name: str) -> str:
        return name if name == "learning_rate" else _SCHEDULE + name

    def _take_choices(self, options: dict[str, Any]) -> dict[str, Any]:
        chosen = {name: options.pop(name, allowed[0]) for name, allowed in self.choices.items()}
        for name, value in chosen.items():
            if value not in self.choices[name]:
                raise ValueError(f"{name} must be one of {', '.join(map(str, self.choices[name]))}; got {value!r}")
        return chosen

    def _take_hypers(self, options: dict[str, Any]) -> dict[str, Any]:
        ranges = self.row.ranges
        given = {name: options.pop(name, None) for name in ranges}
        values = {name: ranges[name].default if value is None else value for name, value in given.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _check_options(self, lanes: int | None, hypers: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        if unknown := options.keys() - set(_KERAS_OPTIONS):
            known = ", ".join(("learning_rate", "lanes", *self.choices, *self.row.ranges, *_KERAS_OPTIONS))
            raise ValueError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}; there are {known}")
        if len(clips := [name for name in CLIPS if name in hypers]) > 1:
            raise ValueError(f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set; got {clips}")
        if lanes is not None and (not isinstance(lanes, int) or lanes < 1):
            raise ValueError(f"lanes must be None or a whole number from 1; got {lanes!r}")
        if lanes is not None and options.get("ema_overwrite_frequency"):
            raise ValueError("ema_overwrite_frequency counts one clock, and each lane has its own; it needs lanes=None")

    def variable_of(self, name: str) -> keras.Variable:
        """The variable of a hyper-parameter. Raises ValueError, saying which there are."""
        variables = {"learning_rate": self._learning_rate, **self._scheduled, **self._hypers}
        if isinstance(variable := variables.get(name), keras.Variable):
            return variable
        known = ", ".join(other for other, variable in variables.items() if isinstance(variable, keras.Variable))
        raise ValueError(f"{self.name} has no variable hyper-parameter {name!r}; it has {known}")

    def _checked(self, name: str, value: Any) -> Tensor:
        value = tf.convert_to_tensor(value) if tf.is_tensor(value) else value
        if tf.is_symbolic_tensor(value):
            return self._spread(value)
        allowed, numbers = {**_ALLOWED_EVERYWHERE, **self.allowed}[name], np.asarray(value)
        shapes = [(), (self.lanes,)]
        if numbers.dtype.kind in "fiu" and numbers.shape in shapes and allowed.holds(numbers.astype(self._number_dtype)):
            return self._spread(numbers)
        form = "a number" if self.lanes is None else f"one number or {self.lanes}"
        raise ValueError(f"{name} must be {form} in {allowed} (as {self._number_dtype}); got {value!r}")

    def _spread(self, value: Any) -> Tensor:
        shape = () if self.lanes is None else (self.lanes,)
        if tf.is_symbolic_tensor(value):
            return ops.broadcast_to(ops.cast(value, self._number_dtype), shape)
        return np.broadcast_to(np.asarray(value, self._number_dtype), shape)

    def _add_number(self, name: str, value: np.ndarray) -> keras.Variable:
        return self.add_variable(
            value.shape, initializer=value, dtype=self._number_dtype, aggregation="only_first_replica", name=name
        )

    def _plain(self, variable: keras.Variable) -> float | list[float]:
        numbers = [float(str(number)) for number in np.ravel(variable.numpy())]
        return numbers[0] if self.lanes is None else numbers

    def _get_current_learning_rate(self) -> Tensor:
        rate = self._learning_rate
        if self._scheduled:
            numbers = {name.removeprefix(_SCHEDULE): self._tensor(number) for name, number in self._scheduled.items()}
            return rate.rate(self._tensor(self.steps + 1), SimpleNamespace(**numbers))
        if self.lanes is None or not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return super()._get_current_learning_rate()
        return ops.stack([rate(iteration) for iteration in ops.unstack(self._lane_iterations, num=self.lanes)])

    @property
    def steps(self) -> Tensor:
        """How many updates have been made, integer of shape () or (K,)."""
        if self.lanes is None:
            return self.iterations
        return ops.floor_divide(self._lane_iterations, self.gradient_accumulation_steps or 1)

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

    def add_variable(self, shape: Any, initializer: Any = "zeros", dtype: Any = None, **options: Any) -> keras.Variable:
        """Keras' own, but in float32 where `dtype` is a half."""
        return super().add_variable(shape, initializer=initializer, dtype=_wide(dtype), **options)

    def reset(self, lane: int | Sequence[int] | None = None) -> None:
        """Forgets the past of everything, or of one lane or several: slots, steps, averages, accumulated gradients.

        Hyper-parameters keep their values and nothing is traced anew. With gradient accumulation, reset lanes between two
        updates: the lanes share one count of micro-steps. Raises ValueError for a lane that does not exist.
        """
        chosen = self._mask(lane)
        for variable, initial in self._state():
            here = self._expand(chosen, len(variable.shape))
            self.assign(variable, ops.where(here, ops.cast(initial, variable.dtype), ops.cast(variable, variable.dtype)))
        if lane is None:
            self._iterations.assign(0)

    def _mask(self, lane: int | Sequence[int] | None) -> Tensor:
        if lane is None:
            return ops.ones(() if self.lanes is None else (self.lanes,), "bool")
        if self.lanes is None:
            raise ValueError("this optimizer has no lanes; reset() resets all of it")
        if not tf.is_symbolic_tensor(lane) and not np.all((np.asarray(lane) >= 0) & (np.asarray(lane) < self.lanes)):
            raise ValueError(f"lane must be from 0 to {self.lanes - 1}; got {lane!r}")
        wanted = ops.reshape(ops.cast(lane, "int32"), (1, -1))
        return ops.any(ops.equal(ops.reshape(ops.arange(self.lanes), (-1, 1)), wanted), axis=1)

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
        grads = [ops.cast(tf.convert_to_tensor(gradient), _wide(variable.dtype)) for gradient, variable in pairs]
        super()._backend_apply_gradients(grads, trainable_variables)

    def _backend_update_step(self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Any) -> None:
        del learning_rate  # among the numbers
        numbers = self._numbers(self._gathered(grads, trainable_variables))
        super()._backend_update_step(grads, trainable_variables, self._shaped(numbers, trainable_variables))
        following = {**numbers, "in_evaluation": ops.zeros_like(numbers["k"])}
        for name, variable in self._carried.items():
            self.assign(variable, following[name])

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
        if type(self).gather is Rule.gather:  # most rules: their graphs stay as small as they were
            return {}
        shaped, sums = self._shaped(self._given(), variables), Counter()
        for gradient, variable in zip(grads, variables, strict=True):
            for name, part in self.gather(gradient, *self._at(variable, shaped)).items():
                sums[name] += self._tensor(part)
        return dict(sums)

    def _tensor(self, number: Any) -> Tensor:
        return ops.cast(ops.convert_to_tensor(number, self._number_dtype), self._number_dtype)

    def _shaped(self, numbers: Mapping[str, Tensor], variables: Sequence[Any]) -> dict[tuple, dict[str, Tensor]]:
        keys = dict.fromkeys(self._key(variable) for variable in variables)
        return {
            (dtype, rank): {name: ops.cast(self._expand(number, rank), dtype) for name, number in numbers.items()}
            for dtype, rank in keys
        }

    def _key(self, variable: Any) -> tuple[str, int]:
        return _wide(variable.dtype), 0 if self.lanes is None else len(variable.shape)

    def _expand(self, number: Tensor, rank: int) -> Tensor:
        return number if self.lanes is None or rank == 1 else ops.reshape(number, (self.lanes,) + (1,) * (rank - 1))

    def _at(self, variable: Any, shaped: Mapping[tuple, Mapping[str, Tensor]]) -> tuple[Tensor, tuple, SimpleNamespace]:
        slots = tuple(tf.convert_to_tensor(slot) for slot in self._slots_of(variable))
        x = ops.cast(tf.convert_to_tensor(variable), _wide(variable.dtype))
        traits = self._traits[self._get_variable_index(variable)]
        return x, slots, SimpleNamespace(**shaped[self._key(variable)], **traits)

    def _slots_of(self, variable: Any) -> list[keras.Variable]:
        index = self._get_variable_index(variable)
        return [column[index] for column in self._slots.values()]

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: `update_step` decays, in the compute dtype and within a lane."""

    def _clip_gradients(self, grads: Sequence[Tensor]) -> list[Tensor]:
        grads = self._summed_over_replicas([ops.convert_to_tensor(gradient) for gradient in grads])
        if "clipvalue" in self._hypers:
            limits = [self._limit("clipvalue", gradient) for gradient in grads]
            return [ops.maximum(ops.minimum(g, limit), -limit) for g, limit in zip(grads, limits, strict=True)]
        if not self._hypers.keys() & {"clipnorm", "global_clipnorm"}:
            return grads
        squares = [self.total(ops.square(gradient)) for gradient in grads]
        if "clipnorm" in self._hypers:
            return [self._shrunk("clipnorm", g, square) for g, square in zip(grads, squares, strict=True)]
        total = sum(ops.cast(square, self._number_dtype) for square in squares)
        return [self._shrunk("global_clipnorm", gradient, total) for gradient in grads]

    def _shrunk(self, name: str, gradient: Tensor, square: Tensor) -> Tensor:
        norm = ops.cast(self._expand(ops.sqrt(square), len(gradient.shape)), gradient.dtype)
        scale = ops.minimum(1.0, self._limit(name, gradient) / norm)
        return gradient * ops.where(ops.isfinite(norm), scale, float("nan"))

    def _limit(self, name: str, gradient: Tensor) -> Tensor:
        return ops.cast(self._expand(self._hypers[name], len(gradient.shape)), gradient.dtype)

    def _summed_over_replicas(self, grads: list[Tensor]) -> list[Tensor]:
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return grads
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)

    def _all_reduce_sum_gradients(self, grads_and_vars: Sequence[tuple]) -> Sequence[tuple]:
        return grads_and_vars  # `_clip_gradients` has summed them, so that the clip sees the gradient of the whole batch

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
        for variable in self._trainable_variables:
            x, slots, h = self._at(variable, shaped)
            self.assign(variable, ops.where(ops.not_equal(h.in_evaluation, to), point(x, slots, h), x))
        flag = self._carried["in_evaluation"]
        flag.assign(ops.full(flag.shape, to, flag.dtype))

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        if not self.use_ema:
            return
        kept = self.ema_momentum * ops.cast(ops.not_equal(self.steps, 0), self._number_dtype)
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                share = ops.cast(self._expand(kept, len(average.shape)), average.dtype)
                average.assign(share * average + (1 - share) * ops.cast(variable, average.dtype))

    def _overwrite_model_variables_with_average_value(self, trainable_variables: Sequence[Any]) -> None:
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                target = variable.value if isinstance(variable, keras.Variable) else variable
                self._distribution_strategy.extended.update(target, self.assign, args=(average,))


def _wide(dtype: Any) -> str:
    name = keras.backend.standardize_dtype(dtype)
    return "float32" if name in ("float16", "bfloat16") else name


def _path(variable: Any) -> str:
    return getattr(variable, "path", variable.name)  # a tf.Variable has no path
