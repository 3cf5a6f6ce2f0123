"""Which numbers a hyper-parameter may be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`; `ends` says which of the two belong to it, as in "[0, 1)"."""

    low: float
    high: float
    ends: str

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside; NaN never does."""
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return above and below

    def __str__(self) -> str:
        return f"{self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"


FRACTION = Interval(0.0, 1.0, "[)")
SHARE = Interval(0.0, 1.0, "(]")
UNIT = Interval(0.0, 1.0, "[]")
INSIDE = Interval(0.0, 1.0, "()")
POSITIVE = Interval(0.0, float("inf"), "()")
NON_NEGATIVE = Interval(0.0, float("inf"), "[)")
LIMIT = Interval(0.0, float("inf"), "(]")
