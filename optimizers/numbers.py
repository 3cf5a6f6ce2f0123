"""The numbers of an optimizer: each a variable, so that a traced or compiled step serves all its values."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import keras
import keras.ops as ops
import numpy as np
import tensorflow as tf

from optimizers import CLIPS
from optimizers.contract import Method, Tensor
from optimizers.interval import Interval
from optimizers.schedules import Schedule

_SCHEDULE = "schedule."
_KERAS_OPTIONS = (
    "name",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


def _hyper_property(name: str) -> property:
    def get(self: "Numbers") -> Any:
        return self._hypers.get(name)

    def put(self: "Numbers", value: Any) -> None:
        if value is not None:
            self.set_hyper(name, value)

    return property(get, put, doc=f"The variable of `{name}`, or None where the constructor got none.")


class Numbers(Method, keras.optimizers.Optimizer):
    """Takes the options of the constructor, checks them, and keeps the rate, the schedule's numbers and the hyper-parameters.

    Hyper-parameters are stored in float64 when `keras.config.floatx()` is float64, in float32 otherwise.
    """

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
        self.lanes = lanes
        self._allowed = self._intervals(rate)
        self._number_dtype = "float64" if keras.config.floatx() == "float64" else "float32"
        self._scheduled = self._take_schedule(rate) if isinstance(rate, Schedule) else {}
        if not callable(rate):
            self._learning_rate = self._add_number("learning_rate", self._checked("learning_rate", rate))
        self._hypers = {name: self._add_number(name, self._checked(name, value)) for name, value in hypers.items()}
        if lanes is not None:
            self._lane_iterations = self.add_variable((lanes,), dtype="int", aggregation="only_first_replica", name="lane")

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

    def _intervals(self, rate: Any) -> dict[str, Interval]:
        scheduled = rate.intervals if isinstance(rate, Schedule) else {}
        own = {name: scope.allowed for name, scope in self.row.numbers.items()}
        return {**own, **{self._scheduled_name(name): interval for name, interval in scheduled.items()}}

    def _take_schedule(self, schedule: Schedule) -> dict[str, keras.Variable]:
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
        allowed, numbers = self._allowed[name], np.asarray(value)
        is_number = numbers.dtype.kind in "fiu" and numbers.shape in [(), (self.lanes,)]
        if is_number and all(map(allowed.holds, numbers.astype(self._number_dtype).flat)):
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

    def add_variable(self, shape: Any, initializer: Any = "zeros", dtype: Any = None, **options: Any) -> keras.Variable:
        """Keras' own, but in float32 where `dtype` is a half."""
        return super().add_variable(shape, initializer=initializer, dtype=wide(dtype), **options)

    def _tensor(self, number: Any) -> Tensor:
        return ops.cast(ops.convert_to_tensor(number, self._number_dtype), self._number_dtype)


def wide(dtype: Any) -> str:
    """The dtype that a rule computes in for weights of `dtype`."""
    name = keras.backend.standardize_dtype(dtype)
    return "float32" if name in ("float16", "bfloat16") else name
