"""Which trials may train side by side in one graph, and what a sampler must keep to for another one to join them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from optimizers import CLIPS, COMMON, find
from tuner.dimension import Dimension
from tuner.space import Configuration, Space
from tuner.spec import Choice, Fixed, IntRange, Parameter, values
from tuner.trial import Params, Value

CACHE, STATES = 24 * 2**20, 5  # bytes, of which a processor has about as many; weights, gradients and slots
ABREAST = 4  # graphs; they are traced one after the other, so that more would wait for that
FEWEST, MOST = 4, 32  # lanes of a pack; fewer do not win back what compiling costs
NARROW = 64  # units; networks below are padded to it: a graph of their own would cost more than the padding
FINE = 128  # units above which there is a padding halfway between two powers of two: the work grows with the square of the width


@dataclass(frozen=True)
class Form:
    """What the lanes of a pack have in common.

    `network` has the parameters that shape the graph: numbers of units are the largest that a lane may have. `methods` are the
    optimizers that lanes may have.
    """

    network: tuple[tuple[str, Value], ...]
    methods: tuple[str, ...]
    batch_size: int

    @property
    def signature(self) -> tuple[tuple[str, Value], ...]:
        """As the labels of a checkpoint want it."""
        return (*self.network, ("optimizers", " ".join(self.methods)), ("batch_size", self.batch_size))


class Packing:
    """How the trials of a study are grouped into packs."""

    def __init__(self, space: Space) -> None:
        self.space = space

    @cached_property
    def refusal(self) -> str:
        """Why no trial of the study can train in a lane; empty when all can."""
        spec = self.space.spec
        if self.space.network is None:
            return "the network is a function of the user's"
        if spec.train.backprop == "explicit":
            return "explicit back-propagation has no lanes"
        if spec.train.precision == "mixed_float16":
            return "no loss is scaled in lanes, as mixed_float16 needs"
        if len(clips := [name for name in self.common if name in CLIPS]) > 1:
            return f"the lanes of a pack have one way to clip, not {' and '.join(clips)}"
        needy = [name for name in self._methods if not find(name).gradient_only]
        return f"{', '.join(needy)} needs more than the gradient of a batch" if needy else ""

    @cached_property
    def varying(self) -> frozenset[str]:
        """Parameters of the network that may differ from lane to lane: those that are tensors, and those that lanes make such."""
        network = self.space.network
        if network is None:
            return frozenset()
        searched = {d.name for d in self.space.dimensions if not isinstance(d.parameter, Fixed)}
        padded = {name for name in self._padded if any(self._is_of(other, name) for other in searched)}
        others = {name for name in network.in_lanes if name not in self._padded and name in searched}
        return frozenset(self.space.tensors | padded | others)

    @cached_property
    def _padded(self) -> tuple[str, ...]:
        network = self.space.network
        return () if network is None else tuple(name for name, kind in network.in_lanes.items() if kind == "padded")

    @cached_property
    def _methods(self) -> tuple[str, ...]:
        chosen = self.space.spec.search.get("optimizer")
        return tuple(str(v) for v in values(chosen)) if chosen else (self.space.configuration({}).optimizer,)

    @cached_property
    def common(self) -> tuple[str, ...]:
        """The hyper-parameters common to all optimizers that some trial of the study has."""
        rows = [find(name) for name in self._methods]
        searched = {name.split(".")[-1] for name in self.space.spec.search}
        return tuple(name for name in COMMON if name in searched or any(name in row.hyper for row in rows))

    def choices(self, name: str) -> tuple[Value, ...]:
        """The values that a varying choice may have in the study, in order."""
        return values(self.space.spec.search[name])

    def form(self, params: Params) -> Form:
        """What a trial's lane has in common with its neighbours."""
        configuration = self.space.configuration(params)
        assert configuration.batch_size is not None  # a method of the gradient has one
        shaping = {n: v for n, v in self._expanded(configuration).items() if n not in self.varying}
        method = configuration.optimizer
        shaping |= {name: self._padding(value, method) for name, value in self.widths(configuration).items()}
        return Form(tuple(sorted(shaping.items())), self._together(method), configuration.batch_size)

    def _together(self, method: str) -> tuple[str, ...]:
        """The methods that may be in one graph with this one."""
        return tuple(name for name in self._methods if find(name).mixes) if find(method).mixes else (method,)

    def widths(self, configuration: Configuration) -> dict[str, int]:
        """The padded parameters of a trial, one for each layer."""
        network, its = self.space.network, configuration.network
        assert network is not None  # a user's function has no lanes
        found = {}
        for name in self._padded:
            for layer in range(1, int(its[network.per_layer[name]]) + 1):
                found[f"{name}_{layer}"] = int(its.get(f"{name}_{layer}", its[name]))
        return found if any(name in self.varying for name in self._padded) else {}

    def _expanded(self, configuration: Configuration) -> dict[str, Value]:
        """The network's parameters without those that `widths` has."""
        mine = self.widths(configuration)
        padded = {name for name in configuration.network for other in self._padded if self._is_of(name, other)} if mine else set()
        return {name: value for name, value in configuration.network.items() if name not in padded}

    @staticmethod
    def _is_of(name: str, padded: str) -> bool:
        """Whether a name is that of a padded parameter, or of one of its layers."""
        return name == padded or (name.startswith(f"{padded}_") and name.removeprefix(f"{padded}_").isdigit())

    def _padding(self, width: int, method: str) -> int:
        """The width that the kernel of a lane is padded to: a power of two, three halves of one, or the largest of the study.

        A method that looks at a matrix as a whole would see the padding, so its lanes have kernels of their own width.
        """
        if not find(method).mixes:
            return width
        above = 1 << (width - 1).bit_length()
        halfway = 3 * above // 4
        return min(halfway if FINE < width <= halfway else max(NARROW, above), self._widest)

    @cached_property
    def _widest(self) -> int:
        mine = [d for d in self.space.dimensions if any(self._is_of(d.name, name) for name in self._padded)]
        return max(int(value) for d in mine for value in values(d.parameter))

    def weights(self, form: Form, input_shape: tuple[int, ...], outputs: int) -> int:
        """The weights of a lane of a form, with those that it is padded with."""
        network = self.space.network
        assert network is not None  # a user's function has no form
        weights, _ = network.size({**network.defaults(), **dict(form.network)}, input_shape, outputs)
        return int(weights)

    def fitting(self, form: Form, input_shape: tuple[int, ...], outputs: int) -> int:
        """How many lanes of a form the cache of a processor holds, a power of two; a larger pack gains no more there."""
        return _power_of_two(max(1, CACHE // (4 * STATES * self.weights(form, input_shape, outputs))))

    def alike(self, params: Params) -> dict[str, Parameter]:
        """The parameters of the space, narrowed to what a trial may have beside one with these; all are, where none has lanes."""
        return {} if self.refusal else dict(self._alike(params))

    def _alike(self, params: Params) -> Iterator[tuple[str, Parameter]]:
        for name, dimension in self.space.free.items():
            if name not in params:
                continue
            if name == "optimizer":
                together = self._together(str(params[name]))
                yield name, Fixed(value=params[name]) if len(together) == 1 else Choice(choice=together)
            elif any(self._is_of(name, padded) for padded in self._padded):
                yield name, self._as_wide(dimension, int(params[name]), self.space.configuration(params).optimizer)
            elif name == "batch_size" or self._shapes(name):
                yield name, Fixed(value=params[name])

    def _shapes(self, name: str) -> bool:
        network = self.space.network
        return network is not None and any(self._is_of(name, p) for p in network.parameters) and name not in self.varying

    def _as_wide(self, dimension: Dimension, width: int, method: str) -> Parameter:
        padding = self._padding(width, method)
        allowed = [int(v) for v in dimension.grid or () if self._padding(int(v), method) == padding]
        if len(allowed) == 1:
            return Fixed(value=allowed[0])
        if isinstance(dimension.parameter, IntRange):
            return IntRange(int=(allowed[0], allowed[-1]), log=dimension.parameter.log, step=dimension.parameter.step)
        return Choice(choice=tuple(allowed))


def planned(packing: Packing) -> int | None:
    """How many lanes the packs of a study have at most; None when each trial shall train alone.

    On a CPU the lanes of convolutions gain nothing, and a search should have learnt from some packs before the last begins.
    """
    space, lanes = packing.space, packing.space.spec.train.lanes
    if packing.refusal or lanes == "off":
        return None
    if lanes != "auto":
        return int(lanes)
    found = min(MOST, space.spec.budget.trials // 8)
    convolutional = space.network is not None and space.network.convolutional
    return None if convolutional or found < FEWEST else _power_of_two(found)


def abreast(packing: Packing) -> int:
    """How many trials of a study train at a time at most, each in a graph of its own, where there are processors for as many.

    That is for networks whose lanes gain nothing, convolutions on a CPU; 1 when trials are to train alone, as for a latency that
    is measured on one processor.
    """
    space = packing.space
    convolutional = space.network is not None and space.network.convolutional
    measured = "latency_ms" in space.spec.costs
    wanted = convolutional and space.spec.train.lanes == "auto" and not packing.refusal and not measured
    return max(1, min(ABREAST, space.spec.budget.trials // 4)) if wanted else 1


def _power_of_two(most: int) -> int:
    """The largest that is not above `most`."""
    return 1 << (most.bit_length() - 1)


def lane_values(packing: Packing, configuration: Configuration) -> Mapping[str, float]:
    """What a lane sets in the layers: the numbers of its tensors, the places of its choices, its widths."""
    found: dict[str, float] = {name: float(value) for name, value in packing.widths(configuration).items()}
    for name in packing.varying & configuration.network.keys():
        value = configuration.network[name]
        if name in packing.space.tensors or isinstance(value, bool):
            found[name] = float(value)
        elif isinstance(value, str):
            found[name] = float(packing.choices(name).index(value))
    return found
