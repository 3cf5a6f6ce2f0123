"""Several rules side by side: every lane follows one of them."""

import functools
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import keras.ops as ops

from optimizers import COMMON, Range, Row, find, load
from optimizers.base import Rule
from optimizers.contract import Tensor
from optimizers.interval import Interval

CHOSEN = "chosen"


class Several(Rule):
    """Each step computes all the rules in every lane, and a lane keeps what its own one says.

    `several` makes the classes. The hyper-parameter `chosen` is the place of a lane's rule in `names`. Those of the rules have
    the rule's name in front, as in `adam.beta_1`; `learning_rate`, `weight_decay` and the clips are common to all. The rules
    share their slots, so a lane that gets another rule must be `reset`.
    """

    names: ClassVar[tuple[str, ...]]

    def __init__(self, learning_rate: Any = None, *, lanes: int, **options: Any) -> None:
        super().__init__(learning_rate, lanes=lanes, **options)
        self._rules = {name: load(name)(lanes=lanes) for name in self.names}

    def _own(self, h: SimpleNamespace) -> Iterator[tuple[Rule, SimpleNamespace, Tensor]]:
        """Every rule, the numbers as it knows them, and which lanes follow it."""
        everything = vars(h)
        common = {key: value for key, value in everything.items() if "." not in key}
        for place, (name, rule) in enumerate(self._rules.items()):
            own = {key.removeprefix(f"{name}."): value for key, value in everything.items() if key.startswith(f"{name}.")}
            yield rule, SimpleNamespace(**common, **own), h.chosen == place

    def gather(self, g, x, slots, h):
        """Those of every rule."""
        each = zip(self.names, self._own(h), strict=True)
        return {
            f"{name}.{key}": part
            for name, (rule, own, _) in each
            for key, part in rule.gather(g, x, slots[: len(rule.slots)], own).items()
        }

    def per_step(self, h):
        """Those of every rule."""
        each = zip(self.names, self._own(h), strict=True)
        return {f"{name}.{key}": number for name, (rule, own, _) in each for key, number in rule.per_step(own).items()}

    def update(self, g, x, slots, h):
        """The step of each lane's own rule."""
        moved, kept = x, list(slots)
        for rule, own, mine in self._own(h):
            start = x - own.decay * x if rule.decays_first and "weight_decay" in self._hypers else x
            its_x, its_slots = rule.update(g, start, slots[: len(rule.slots)], own)
            moved = ops.where(mine, its_x, moved)
            for place, slot in enumerate(its_slots):
                kept[place] = ops.where(mine, slot, kept[place])
        return moved, tuple(kept)

    def evaluation_point(self, x, slots, h):
        """That of each lane's own rule."""
        return self._point("evaluation_point", x, slots, h)

    def training_point(self, x, slots, h):
        """That of each lane's own rule."""
        return self._point("training_point", x, slots, h)

    def _point(self, which: str, x: Tensor, slots: tuple, h: SimpleNamespace) -> Tensor:
        point = x
        for rule, own, mine in self._own(h):
            if "eval_swap" in rule.row.requires:
                point = ops.where(mine, getattr(rule, which)(x, slots[: len(rule.slots)], own), point)
        return point


@functools.cache
def several(names: tuple[str, ...]) -> type[Several]:
    """The class whose lanes follow the methods `names`. Raises ValueError for one that does not mix (`optimizers.Row.mixes`)."""
    rows = {name: find(name) for name in names}
    if strangers := [name for name, row in rows.items() if not row.mixes]:
        raise ValueError(f"{', '.join(strangers)} cannot stand beside other methods in one graph")
    rules = {name: load(name) for name in names}
    hyper = {f"{name}.{key}": span for name, row in rows.items() for key, span in row.hyper.items() if key not in COMMON}
    row = Row(
        "several",
        "several",
        f"{__name__}:several",
        rows[names[0]].learning_rate,
        {CHOSEN: Range(0, 0, len(names) - 1), **hyper},
        frozenset.union(*(row.requires for row in rows.values())),
        "",
    )
    members = {
        "names": names,
        "row": row,
        "__doc__": f"One of {', '.join(names)} in each lane.",
        "allowed": {CHOSEN: Interval(0, len(names) - 1, "[]"), **_prefixed(rules, "allowed")},
        "carried": _prefixed(rules, "carried"),
        "slots": {f"slot_{place}": 0.0 for place in range(max(len(rule.slots) for rule in rules.values()))},
        "decays_first": False,
    }
    return type("Several", (Several,), members)


def _prefixed(rules: Mapping[str, type[Rule]], part: str) -> dict[str, Any]:
    return {f"{name}.{key}": value for name, rule in rules.items() for key, value in getattr(rule, part).items()}
