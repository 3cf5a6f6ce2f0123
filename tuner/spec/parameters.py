"""What stands behind a name in `[search]`: a range, choices, or a value; for all trials or for those that a condition names."""

import math
import sys
from typing import Annotated, Any, Self, TypeAlias

from pydantic import Field, model_validator

from tuner.spec.aims import Frozen, Tuple
from tuner.trial import Value

MAX_CHOICES = 1_000

# The fields of a range carry the names of these types.
Whole: TypeAlias = int
Real: TypeAlias = float


class Conditional(Frozen):
    """What every entry of `[search]` may carry: the values of other parameters for which it exists."""

    when: dict[str, Annotated[tuple[Value, ...], Tuple]] = Field(default={})
    per_layer: bool = False

    @model_validator(mode="before")
    @classmethod
    def _single_values(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("when"), dict):
            when = {k: v if isinstance(v, list | tuple) else [v] for k, v in raw["when"].items()}
            return {**raw, "when": when}
        return raw


class IntRange(Conditional):
    """`{int = [low, high], log = false, step = 1}`, both ends included."""

    int: Annotated[tuple[Whole, Whole], Tuple]
    log: bool = False
    step: Annotated[Whole, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(*self.int, log=self.log)
        if self.log and self.step != 1:
            raise ValueError("log and step exclude each other")
        return self


class FloatRange(Conditional):
    """`{float = [low, high], log = false, step = none}`, both ends included."""

    float: Annotated[tuple[Real, Real], Tuple]
    log: bool = False
    step: Annotated[Real, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(*self.float, log=self.log)
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.step is not None and (self.float[1] - self.float[0]) / self.step > 1 / sys.float_info.epsilon:
            raise ValueError(f"step {self.step:g} is finer than numbers are; remove it")
        return self


class Choice(Conditional):
    """`[a, b, c]` or `{choice = [a, b, c], when = {...}}`."""

    choice: Annotated[tuple[Value, ...], Tuple, Field(min_length=1, max_length=MAX_CHOICES)]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = {"number" if type(c) in (int, float) else type(c).__name__ for c in self.choice}
        if len(kinds) > 1:
            raise ValueError(f"choices must be of one kind, these mix {' and '.join(sorted(kinds))}")
        if len(set(self.choice)) < len(self.choice):
            raise ValueError("a choice stands here twice")
        return self


class Fixed(Conditional):
    """A plain value, or `{value = v, when = {...}}`."""

    value: Value


Parameter = IntRange | FloatRange | Choice | Fixed
KINDS: dict[str, type[Parameter]] = {"int": IntRange, "float": FloatRange, "choice": Choice, "value": Fixed}


def _check_range(low: float, high: float, *, log: bool) -> None:
    if low > high:
        raise ValueError(f"the range is upside down: {low} > {high}")
    if low == high:
        raise ValueError(f"the range is a single value; write `= {low}`")
    if log and low <= 0:
        raise ValueError(f"log needs a lower end above 0, not {low}")


def typed(raw: Any) -> Any:
    """The typed entry for what a person wrote behind a name in `[search]`."""
    if isinstance(raw, Parameter):
        return raw
    if isinstance(raw, list | tuple):
        raw = {"choice": list(raw)}
    elif not isinstance(raw, dict):
        raw = {"value": raw}
    kinds = [kind for kind in KINDS if kind in raw]
    if len(kinds) != 1:
        raise ValueError("write {int = [low, high]}, {float = [low, high]}, a list of choices, or a value")
    return KINDS[kinds[0]].model_validate(raw)


def values(parameter: Parameter) -> tuple[Value, ...]:
    """The values that bound a parameter: both ends of a range, as far as steps reach, all choices, or the fixed one."""
    match parameter:
        case IntRange(int=(low, high), step=step):
            return (low, high - (high - low) % step)
        case FloatRange(float=ends):
            return ends
        case Choice(choice=choices):
            return choices
        case Fixed(value=value):
            return (value,)


def contains(parameter: Parameter, value: Value) -> bool:
    """Whether the parameter can take the value."""
    match parameter:
        case IntRange(int=(low, high), step=step):
            return type(value) is int and low <= value <= high and (value - low) % step == 0
        case FloatRange(float=(low, high), step=fstep):
            if isinstance(value, str | bool) or not low <= value <= high:
                return False
            return fstep is None or math.isclose((value - low) / fstep, round((value - low) / fstep), abs_tol=1e-9)
        case _:
            # 1 may stand for 1.0, but nothing has 2.0 layers
            return any(
                value == v and (type(value) is type(v) or (type(value) is int and type(v) is float)) for v in values(parameter)
            )
