"""Several rules side by side: every lane follows one of them."""

import functools
from collections.abc import Container, Iterator, Sequence, Set
from types import SimpleNamespace
from typing import Any, ClassVar

import keras.ops as ops

from optimizers import COMMON, Range, Row, find, load
from optimizers.base import Rule
from optimizers.contract import Method, Moments, Tensor
from optimizers.interval import Interval

CHOSEN = "chosen"
_MOMENTS = "moments"


class Several(Rule):
    """Each step computes the rules in every lane, and a lane keeps what its own one says.

    `several` makes the classes. The hyper-parameter `chosen` is the place of a lane's rule in `names`. Those of the rules have
    the rule's name in front, as in `adam.beta_1`; `learning_rate`, `weight_decay` and the clips are common to all. The rules
    share their slots, so a lane that gets another rule must be `reset`.

    Rules that have the form of `Moments` are one formula whose numbers differ from lane to lane: to compute each of eight rules
    takes half as long again as a step with one.
    """

    names: ClassVar[tuple[str, ...]]
    together: ClassVar[Set[str] | None]  # what the rules that are one formula remember; None where there are none

    def __init__(self, learning_rate: Any = None, *, lanes: int, **options: Any) -> None:
        super().__init__(learning_rate, lanes=lanes, **options)
        self._rules = {name: load(name)(lanes=lanes) for name in self.names}
        self._apart = [name for name, rule in self._rules.items() if rule.remembers is None]
        self._swapping = [name for name, rule in self._rules.items() if "eval_swap" in rule.row.requires]
        self._gathering = [name for name, rule in self._rules.items() if type(rule).gather is not Method.gather]

    def _own(self, h: SimpleNamespace, names: Sequence[str]) -> Iterator[tuple[Rule, SimpleNamespace, Tensor]]:
        """These rules, the numbers as each knows them, and which lanes follow it."""
        everything = vars(h)
        common = {key: value for key, value in everything.items() if "." not in key}
        for name in names:
            rule, place = self._rules[name], self.names.index(name)
            own = {key.removeprefix(f"{name}."): value for key, value in everything.items() if key.startswith(f"{name}.")}
            yield rule, SimpleNamespace(**common, **own), h.chosen == place

    def gather(self, g, x, slots, h):
        """Those of every rule that gathers."""
        each = zip(self._gathering, self._own(h, self._gathering), strict=True)
        return {
            f"{name}.{key}": part
            for name, (rule, own, _) in each
            for key, part in rule.gather(g, x, slots[: len(rule.slots)], own).items()
        }

    def per_step(self, h):
        """Those of every rule, and the numbers of the formula."""
        numbers, moments = {}, Moments()
        for name, (rule, own, mine) in zip(self.names, self._own(h, self.names), strict=True):
            its = rule.per_step(own)
            numbers |= {f"{name}.{key}": number for key, number in its.items()}
            if rule.remembers is not None:
                stated = rule.moments(SimpleNamespace(**{**vars(own), **its}))
                moments = Moments(*(ops.where(mine, new, old) for new, old in zip(stated, moments, strict=True)))
        return numbers | {f"{_MOMENTS}.{letter}": self._tensor(number) for letter, number in moments._asdict().items()}

    def _gathered(self, grads, variables):
        """Nothing where no rule gathers."""
        return super()._gathered(grads, variables) if self._gathering else {}

    def _shaped(self, numbers, variables):
        """Without those that the formula has taken up: they would be a third of what is traced."""
        wanted = {*self._apart, *self._swapping, _MOMENTS}
        kept = {key: number for key, number in numbers.items() if "." not in key or key.partition(".")[0] in wanted}
        return super()._shaped(kept, variables)

    def update(self, g, x, slots, h):
        """The step of each lane's own rule."""
        moved, kept = self._moved(g, x, slots, h)
        for rule, own, mine in self._own(h, self._apart):
            start = x - own.decay * x if rule.decays_first and "weight_decay" in self._hypers else x
            its_x, its_slots = rule.update(g, start, slots[: len(rule.slots)], own)
            moved = ops.where(mine, its_x, moved)
            for place, slot in enumerate(its_slots):
                kept[place] = ops.where(mine, slot, kept[place])
        return moved, tuple(kept)

    def _moved(self, g: Tensor, x: Tensor, slots: tuple, h: SimpleNamespace) -> tuple[Tensor, list[Tensor]]:
        """The step of all lanes by the formula, which is right for those that follow it."""
        kept = list(slots)
        if self.together is None:
            return x, kept
        its = Moments(*(getattr(h, f"{_MOMENTS}.{letter}") for letter in Moments._fields))
        x = x - h.decay * x if "weight_decay" in self._hypers else x
        step = its.q * g
        if "s" in self.together:
            step = step + its.w * ops.sqrt(its.w * slots[0] + its.i) * g  # in other lanes m may be negative
        if _first(self.together):
            kept[0] = its.a * slots[0] + its.b * g
            step = its.p * kept[0] + step
        if "v" in self.together:
            place = _first(self.together)
            # A lane without v has d = 0, one without Adadelta's m has r = 0; their squares may overflow all the same.
            kept[place] = its.c * slots[place] + ops.where(its.d > 0, its.d * ops.square(g), 0.0)
            step = step / (ops.sqrt(kept[place] + its.i) + its.e)
        if "s" in self.together:
            kept[0] = kept[0] + ops.where(its.r > 0, its.r * ops.square(step), 0.0)
            step = its.f * step
        return x - step, kept

    def evaluation_point(self, x, slots, h):
        """That of each lane's own rule."""
        return self._point("evaluation_point", x, slots, h)

    def training_point(self, x, slots, h):
        """That of each lane's own rule."""
        return self._point("training_point", x, slots, h)

    def _point(self, which: str, x: Tensor, slots: tuple, h: SimpleNamespace) -> Tensor:
        point = x
        for rule, own, mine in self._own(h, self._swapping):
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
        {CHOSEN: Range(0, 0, len(names) - 1, allowed=Interval(0, len(names) - 1, "[]")), **hyper},
        frozenset.union(*(row.requires for row in rows.values())),
        "",
    )
    letters = [rule.remembers for rule in rules.values() if rule.remembers is not None]
    together = frozenset().union(*letters) if letters else None
    slots = max(_first(together or ()) + ("v" in (together or ())), *(len(rule.slots) for rule in rules.values()))
    members = {
        "names": names,
        "together": together,
        "row": row,
        "__doc__": f"One of {', '.join(names)} in each lane.",
        "carried": {f"{name}.{key}": value for name, rule in rules.items() for key, value in rule.carried.items()},
        "slots": {f"slot_{place}": 0.0 for place in range(slots)},
        "decays_first": False,
    }
    return type("Several", (Several,), members)


def _first(together: Container[str]) -> int:
    """The place of v among the slots: behind m or s, which share one."""
    return int("m" in together or "s" in together)
