"""StudySpec → search space: which parameters exist, which shape the graph, what a trial's parameters mean. Pure."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from models import NETWORKS, Network
from models.plan import Impossible
from optimizers import SCHEDULES, find
from tuner.dimension import Dimension, Structure, both
from tuner.errors import BadInput
from tuner.spec import DEFAULTS, Fixed, StudySpec, owner_of, taken, values
from tuner.trial import Params, Value

TRAINING = ("optimizer", "learning_rate", "batch_size", "schedule", "warmup")


@dataclass(frozen=True)
class Configuration:
    """A trial's parameters with every default filled in, sorted by who needs them.

    `batch_size` is None for an optimizer that takes all rows at once. `schedule` is None in a study that names none.
    """

    network: Mapping[str, Value]
    optimizer: str
    learning_rate: float
    hyper: Mapping[str, float]
    batch_size: int | None
    schedule: "Scheduled | None" = None


@dataclass(frozen=True)
class Scheduled:
    """How the learning rate of a trial changes.

    `warmup` is a share of the training; `numbers` are those of every schedule, with its name in front, as in `cosine.floor`.
    """

    name: str
    warmup: float
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Size:
    """A network in figures: trainable weights, and bytes in training (weights, gradient, two slots, a batch's activations)."""

    parameters: int
    bytes: int


class Space:
    """The search space of a study."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.network: Network | None = None if spec.model.is_code else NETWORKS[spec.model.name]
        self.dimensions: tuple[Dimension, ...] = tuple(_ordered(list(self._dimensions())))

    def _dimensions(self) -> Iterator[Dimension]:
        structure = None if self.network is None else Structure(self.network, self.spec.search)
        for name, parameter in self.spec.search.items():
            when = both(self._natural_condition(name), parameter.when)
            yield from [Dimension(name, parameter, when)] if structure is None else structure.unfold(name, parameter, when)

    def _natural_condition(self, name: str) -> dict[str, tuple[Value, ...]]:
        """A hyper-parameter of some optimizers exists only for these, and so does the batch size."""
        chooser, owner = owner_of(name)
        if owner:
            return {chooser: (owner,)} if chooser in self.spec.search else {}
        chosen = self.spec.search.get("optimizer")
        if chosen is None or (self.network is not None and name in self.network.parameters):
            return {}
        takes = tuple(o for o in values(chosen) if name in taken(find(str(o))))
        return {"optimizer": takes} if takes and len(takes) < len(values(chosen)) else {}

    def check(self) -> None:
        """Raise `BadInput` for an enqueued value that no trial with the others beside it could have."""
        named = {dimension.name: dimension for dimension in self.dimensions}
        fixed = {name: d.parameter.value for name, d in named.items() if isinstance(d.parameter, Fixed)}
        for index, configuration in enumerate(self.spec.enqueue):
            beside = {**fixed, **configuration}
            for dimension in (named[name] for name in configuration if name in named):
                for other, wanted in dimension.when.items():
                    if other in beside and beside[other] not in wanted:
                        place = f"enqueue[{index}].{dimension.name}: is not there with {other} = {beside[other]}"
                        raise BadInput(f"{place}; allowed: {dimension.conditions(str)[other]}")

    def choose(self, suggest: Callable[[Dimension], Value]) -> dict[str, Value]:
        """Walk the space in an order in which conditions are known, asking `suggest` for every value that is free."""
        params: dict[str, Value] = {}
        for dimension in self.dimensions:
            if dimension.exists(params):
                fixed = isinstance(dimension.parameter, Fixed)
                params[dimension.name] = values(dimension.parameter)[0] if fixed else suggest(dimension)
        return params

    @cached_property
    def free(self) -> Mapping[str, Dimension]:
        """The dimensions that have more than one value, by name."""
        return {d.name: d for d in self.dimensions if not isinstance(d.parameter, Fixed)}

    @cached_property
    def size(self) -> float:
        """How many different configurations there are; infinite when a dimension is continuous."""
        return self._count(0, {})

    @property
    def most_trials(self) -> float:
        """How many trials a study may have: a grid ends when it is searched."""
        return self.size if self.spec.sampler.name == "grid" else math.inf

    def _count(self, index: int, params: dict[str, Value]) -> float:
        if index == len(self.dimensions):
            return 1
        dimension, rest = self.dimensions[index], self.dimensions[index + 1 :]
        if not dimension.exists(params):
            return self._count(index + 1, params)
        if not any(dimension.name in d.parents for d in rest):
            return dimension.count * self._count(index + 1, params)
        if (grid := dimension.grid) is None:
            return math.inf
        return sum(self._count(index + 1, {**params, dimension.name: value}) for value in grid)

    def nth(self, index: int) -> dict[str, Value]:
        """Configuration `index` of a discrete space in a fixed order; those before it are counted, not walked through."""
        params: dict[str, Value] = {}
        for position, dimension in enumerate(self.dimensions):
            if not dimension.exists(params):
                continue
            for value in dimension.grid or ():
                below = int(self._count(position + 1, {**params, dimension.name: value}))
                if index < below:
                    params[dimension.name] = value
                    break
                index -= below
        return params

    def configuration(self, params: Params) -> Configuration:
        """What the engines need to train these parameters."""
        everything = {**DEFAULTS, **params}
        row = find(str(everything["optimizer"]))
        own = {name.removeprefix(f"{row.name}."): value for name, value in params.items() if name.startswith(f"{row.name}.")}
        everything |= own
        hyper = {name: float(everything[name]) for name in row.ranges if name in everything}
        training = {name for name in params if name in (*TRAINING, *hyper) or "." in name}
        mine = {name: value for name, value in params.items() if name not in training}
        if self.network is not None:
            mine = {**self.network.defaults(), **mine}
        return Configuration(
            network=mine,
            optimizer=row.name,
            learning_rate=float(everything.get("learning_rate", row.learning_rate.default)),
            hyper=hyper,
            batch_size=None if "full_batch" in row.requires else int(everything["batch_size"]),
            schedule=self._schedule(everything) if self._scheduled else None,
        )

    @cached_property
    def _scheduled(self) -> bool:
        return any(name in ("schedule", "warmup") or owner_of(name)[0] == "schedule" for name in self.spec.search)

    def _schedule(self, everything: Params) -> Scheduled:
        numbers = {f"{row.name}.{name}": span.default for row in SCHEDULES.values() for name, span in row.numbers.items()}
        given = {name: float(everything.get(name, default)) for name, default in numbers.items()}
        return Scheduled(str(everything["schedule"]), float(everything["warmup"]), given)

    @cached_property
    def tensors(self) -> frozenset[str]:
        """Network parameters that are searched as tensors inside the graph, without changing its shape."""
        if self.network is None:
            return frozenset()
        known = self.network.parameters
        return frozenset(d.name for d in self.dimensions if d.name in known and not known[d.name].shapes)

    def signature(self, params: Params) -> tuple[tuple[str, Value], ...]:
        """What must be equal for two trials to share one compiled graph."""
        configuration = self.configuration(params)
        shaping = {name: value for name, value in configuration.network.items() if name not in self.tensors}
        shaping |= {"optimizer": configuration.optimizer}
        shaping |= {} if configuration.batch_size is None else {"batch_size": configuration.batch_size}
        shaping |= {f"hyper:{name}": True for name in configuration.hyper}
        return tuple(sorted(shaping.items()))

    def impossible(self, params: Params, input_shape: tuple[int, ...], outputs: int) -> str:
        """Why there is no network of these parameters, by the formula of its shapes; empty when there is, or none knows."""
        if self.network is None:
            return ""
        try:
            self.network.size(self.configuration(params).network, input_shape, outputs)
        except Impossible as reason:
            return str(reason)
        return ""

    def network_size(self, params: Params, input_shape: tuple[int, ...], outputs: int, rows: int) -> Size | None:
        """Weights and training memory of these parameters by formula, with `rows` to train on; None for a user's function.

        Raises `models.plan.Impossible`.
        """
        if self.network is None:
            return None
        configuration = self.configuration(params)
        weights, activations = self.network.size(configuration.network, input_shape, outputs)
        return Size(weights, 4 * (4 * weights + 2 * activations * (configuration.batch_size or rows)))

    def costs(self, params: Params, input_shape: tuple[int, ...], outputs: int) -> dict[str, float]:
        """The costs of a network that follow by formula; none for a user's function. Raises `models.plan.Impossible`."""
        if self.network is None:
            return {}
        weights, numbers = self.network.kept(self.configuration(params).network, input_shape, outputs)
        return {"parameters": weights, "model_bytes": 4 * numbers}


def _ordered(dimensions: list[Dimension]) -> Iterator[Dimension]:
    """The dimensions so that each comes behind those its conditions name; the file's order else."""
    names = {d.name for d in dimensions}
    done: set[str] = set()
    while dimensions:
        ready = next(d for d in dimensions if d.parents & names <= done)
        dimensions.remove(ready)
        done.add(ready.name)
        yield ready
