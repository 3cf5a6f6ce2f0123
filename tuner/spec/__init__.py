"""The study file: TOML in, a frozen `StudySpec` out, or one line that says what is wrong.

This is the only place where a user's input is checked and the only place where defaults live. Everything downstream trusts it.
"""

import difflib
import hashlib
import importlib.util
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, ValidationInfo, model_validator

from models import AUGMENTATION, NETWORKS, Limits, Network
from optimizers import ALIASES, COMMON, FAMILIES, OPTIMIZERS, SCHEDULES, WARMUP, WRAPPERS, Range, Row, find
from tuner.errors import BadInput
from tuner.metrics import METRICS
from tuner.spec.aims import COSTS, Constraint, Frozen, ObjectiveSpec, OneLine, Tuple, bad_aims, left_out_when_empty
from tuner.trial import Value

MAX_FILE_BYTES = 256 * 1024
MAX_TRIALS = 10_000
MAX_CHOICES = 1_000
NEEDS = {"gp": "torch", "cmaes": "cmaes"}  # samplers that want a package of their own
# Of what [search] does not name.
DEFAULTS: Mapping[str, Value] = {"batch_size": 64, "optimizer": "adam", "schedule": "constant", "warmup": WARMUP.default or 0.0}
ACCEPTED = "accepted"  # the context in which a study is read that was checked when it was launched
FIRST_RUNG = 4
STARTUP = 10
FINALISTS, TRIALS_A_FINALIST = 5, 10
MAX_FINALISTS = 100
ASHA_FROM_EPOCHS = 8  # below this a rung would compare trials that have hardly begun

# The fields of a range carry the names of these types.
Whole: TypeAlias = int
Real: TypeAlias = float
Ident = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_]*((:[A-Za-z0-9_]+)?\.[a-z0-9_]+)?$")]


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
_KINDS: dict[str, type[Parameter]] = {"int": IntRange, "float": FloatRange, "choice": Choice, "value": Fixed}


def _check_range(low: float, high: float, *, log: bool) -> None:
    if low > high:
        raise ValueError(f"the range is upside down: {low} > {high}")
    if low == high:
        raise ValueError(f"the range is a single value; write `= {low}`")
    if log and low <= 0:
        raise ValueError(f"log needs a lower end above 0, not {low}")


def _parameter(raw: Any) -> Any:
    """The typed entry for what a person wrote behind a name in `[search]`."""
    if isinstance(raw, Parameter):
        return raw
    if isinstance(raw, list | tuple):
        raw = {"choice": list(raw)}
    elif not isinstance(raw, dict):
        raw = {"value": raw}
    kinds = [kind for kind in _KINDS if kind in raw]
    if len(kinds) != 1:
        raise ValueError("write {int = [low, high]}, {float = [low, high]}, a list of choices, or a value")
    return _KINDS[kinds[0]].model_validate(raw)


class ModelSpec(Frozen):
    """`model = "mlp"`, or `[model] name = "package.module:function"`.

    `output` says what a user's own classifier returns; the built-in networks return logits.
    """

    name: OneLine = "mlp"
    output: Literal["logits", "probabilities"] = "logits"

    @property
    def is_code(self) -> bool:
        """Whether the network is a function of the user's own."""
        return ":" in self.name

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.is_code and self.name not in NETWORKS:
            raise ValueError(f"no network {self.name!r}{_nearest(self.name, NETWORKS)}; or write package.module:function")
        return self


class DataSpec(Frozen):
    """`data = "digits"`, or a table: where the rows come from and how they are split.

    `source` is the name of a known data set or a path (IDX folder, folder of images by class, .npz, .csv, .parquet).
    `target` and `weight` name columns of a table; `validation` and `test` are shares of all rows.
    """

    source: OneLine = "digits"
    target: OneLine | None = None
    weight: OneLine | None = None
    task: Literal["classification", "regression"] | None = None
    normalise: Literal["standard", "unit", "none"] | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2

    @model_validator(mode="after")
    def _leaves_rows(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test = {self.validation + self.test:g} leaves nothing to train on")
        return self


class TrainSpec(Frozen):
    """`[train]`: what all trials share.

    `precision` is what the networks compute in; weights, sums over a batch and what comes out are in float32 all the same.
    With `backprop = "explicit"` the gradients are those of the lecture's formulas (`models.backprop`), not of TensorFlow's tape.
    `lanes` is how many trials train side by side in one graph, where their networks and optimizers allow it (`tuner.packing`).
    """

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    class_weight: Literal["none", "balanced"] = "none"
    metrics: Annotated[tuple[str, ...], Tuple] = ()
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 5.0
    jit: bool | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    backprop: Literal["tape", "explicit"] = "tape"
    lanes: Annotated[int, Field(ge=1, le=1024)] | Literal["auto", "off"] = "auto"


class SamplerSpec(Frozen):
    """`sampler = "tpe"`; `startup` random trials come first (TPE, GP, CMA-ES), or are the population (NSGA-II).

    They are 10 by default, or as many as the longest list of choices has entries: what was never tried cannot be compared. With
    `rank` they are so many of each value.
    """

    name: Literal["tpe", "nsga2", "random", "qmc", "gp", "cmaes", "grid"] = "tpe"
    startup: Annotated[int, Field(ge=0, le=MAX_TRIALS)] = STARTUP


class PrunerSpec(Frozen):
    """`pruner = "asha"`: `from_epoch` is the first rung, `factor` says how rungs grow and which share survives.

    The first rung is epoch 4 by default, earlier when that is more than a third of all epochs.
    """

    name: Literal["asha", "hyperband", "median", "none"]
    from_epoch: Annotated[int, Field(ge=1)]
    factor: Annotated[int, Field(ge=2, le=100)] = 3


class BudgetSpec(Frozen):
    """`budget = 60` or `[budget]`: the search ends when the first of these is reached; the race that follows is not counted."""

    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 50
    hours: Annotated[float, Field(gt=0, le=24 * 365)] | None = None
    target: float | None = None
    patience: Annotated[int, Field(ge=1)] | None = None


class FinalSpec(Frozen):
    """`final = 5` or `[final]`: the race after the search (`tuner.race`), and the only use of the test split; 0 leaves both out.

    The best `finalists` are trained again on `seeds` new seeds each, to the last epoch; the winner once more, with `refit` on the
    rows of validation as well, and then scored. Of `finalists` there are as many as a tenth of the trials, 5 at most and none for
    fewer than 20 trials, so that a race costs at most half as many trainings as the search may have. With `rank` there is one for
    each value.
    """

    finalists: Annotated[int, Field(ge=0, le=MAX_FINALISTS)]
    seeds: Annotated[int, Field(ge=3, le=100)] = 5
    refit: bool = False


_ONE_LINE = {
    "final": "finalists",
    "model": "name",
    "data": "source",
    "objective": "metric",
    "sampler": "name",
    "pruner": "name",
    "budget": "trials",
}


def _most_choices(search: Any) -> int:
    """The length of the longest list of choices in a `[search]` that is not checked yet."""
    entries = search.values() if isinstance(search, dict) else ()
    lists = [entry.get("choice") if isinstance(entry, dict) else entry for entry in entries]
    return min(MAX_TRIALS, max((len(choices) for choices in lists if isinstance(choices, list)), default=0))


def _finalists(raw: Mapping[str, Any]) -> int:
    """How many there are unless the file says so, from one that is not checked yet."""
    budget, search = raw.get("budget"), raw.get("search")
    if (rank := raw.get("rank")) is not None:
        return _most_choices({name: entry for name, entry in search.items() if name == rank} if isinstance(search, dict) else {})
    trials = budget.get("trials") if isinstance(budget, dict) else budget
    share = (trials if isinstance(trials, int) else BudgetSpec().trials) // TRIALS_A_FINALIST
    return min(FINALISTS, share) if share > 1 else 0


class StudySpec(Frozen):
    """One question: what is searched, on which data, with which budget.

    With `rank`, the name of a list of choices, the question is which of these is best, with everything else tuned for it: each
    has an equal share of the trials, in which it is searched and pruned as if there were no other, and the best configuration of
    each is in the race, where nobody is dropped for being worse (`tuner.race`).
    """

    name: OneLine
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    train: TrainSpec = TrainSpec()
    objective: ObjectiveSpec
    constraints: Annotated[tuple[Constraint, ...], Tuple] = left_out_when_empty()
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec
    budget: BudgetSpec = BudgetSpec()
    rank: Ident | None = None
    final: FinalSpec
    search: dict[Ident, Annotated[Parameter, BeforeValidator(_parameter)]]
    enqueue: Annotated[tuple[dict[str, Value], ...], Tuple] = ()

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, raw: Any) -> Any:
        """Expand the one-line forms and fill the defaults that depend on other entries."""
        raw = dict(raw)
        for table, key in _ONE_LINE.items():
            if table in raw and not isinstance(raw[table], dict | BaseModel):
                raw[table] = {key: raw[table]}
        raw.setdefault("objective", {"metric": "val_loss"})
        if isinstance(sampler := raw.setdefault("sampler", {}), dict):
            startup = STARTUP if raw.get("rank") is not None else max(STARTUP, _most_choices(raw.get("search")))
            raw["sampler"] = {"startup": startup, **sampler}
        train = raw.get("train")
        epochs = train.get("epochs", TrainSpec().epochs) if isinstance(train, dict) else TrainSpec().epochs
        long_enough = isinstance(epochs, int) and epochs >= ASHA_FROM_EPOCHS
        raw.setdefault("pruner", {"name": "asha" if long_enough else "none"})
        if isinstance(raw["pruner"], dict):
            first = min(FIRST_RUNG, max(1, epochs // 3)) if isinstance(epochs, int) else FIRST_RUNG
            raw["pruner"] = {"name": "asha", "from_epoch": first, **raw["pruner"]}
        if isinstance(final := raw.setdefault("final", {}), dict):
            raw["final"] = {"finalists": _finalists(raw), **final}
        return raw

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        for problem in () if info.context == ACCEPTED else _problems(self):
            raise ValueError(problem)
        return self

    @property
    def costs(self) -> tuple[str, ...]:
        """The costs that must be known of every complete trial; none for a study with one objective and no constraints."""
        wanted = {*self.objective.further, *(constraint.cost for constraint in self.constraints)}
        return tuple(name for name in COSTS if name in wanted)

    @property
    def other_costs(self) -> tuple[str, ...]:
        """The same without the weights, which are known of every trial anyway."""
        return tuple(name for name in self.costs if name != "parameters")

    @property
    def identity(self) -> str:
        """SHA-256 of everything the file says; equal for equal studies."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


# What may stand in [search], and with which values ------------------------------------------------------------


def known_parameters(spec: StudySpec) -> dict[str, Any]:
    """Name → limits of everything `[search]` may name without an owner; a user's function takes other names as well."""
    rows = (*OPTIMIZERS.values(), *WRAPPERS.values())
    hypers = {name: limits for row in rows for name, limits in row.hyper.items()}
    network: Mapping[str, Any] = {} if spec.model.is_code else NETWORKS[spec.model.name].parameters
    chosen = dict.fromkeys(("optimizer", "learning_rate", "batch_size", "schedule"))
    return {**network, **hypers, **COMMON, **chosen, "warmup": WARMUP}


def owned(owner: str) -> Mapping[str, Range]:
    """What `[search]` may name of one optimizer, as in `adam.beta_1`, or of one schedule, as in `cosine.floor`."""
    if owner in SCHEDULES:
        return dict(SCHEDULES[owner].numbers)
    row = _row(owner)
    return {"learning_rate": row.learning_rate, **row.ranges} if row else {}


def owner_of(name: str) -> tuple[str, str]:
    """The parameter that chooses the owner of a name, and the owner: `adam.beta_1` → `optimizer`, `adam`; empty without one."""
    owner = name.rpartition(".")[0]
    return ("schedule" if owner in SCHEDULES else "optimizer" if owner else ""), owner


def _row(name: str) -> Row | None:
    try:
        return find(name)
    except ValueError:
        return None


def values(parameter: Parameter) -> tuple[Value, ...]:
    """The values that bound a parameter: both ends of a range, all choices, or the fixed one."""
    match parameter:
        case IntRange(int=ends) | FloatRange(float=ends):
            return ends
        case Choice(choice=choices):
            return choices
        case Fixed(value=value):
            return (value,)


def of_layers(network: Network, search: Mapping[str, Parameter], name: str) -> list[str]:
    """What a parameter that differs from layer to layer is called in trials: `width_1`, `width_2`, ..."""
    counter = network.per_layer[name]
    counts = values(search[counter]) if counter in search else (network.parameters[counter].default,)
    return [f"{name}_{layer}" for layer in range(1, max(map(int, counts)) + 1)]


def _in_trials(spec: StudySpec, name: str) -> list[str]:
    """What a parameter of `[search]` is called in trials."""
    return of_layers(NETWORKS[spec.model.name], spec.search, name) if spec.search[name].per_layer else [name]


def enqueued(spec: StudySpec) -> list[dict[str, Value]]:
    """The given configurations as trials have them: `width` is that of every layer, unless a layer has its own, `width_2`."""
    found = []
    for configuration in spec.enqueue:
        shared = {name: value for name, value in configuration.items() if name in spec.search}
        unfolded = {own: value for name, value in shared.items() for own in _in_trials(spec, name)}
        found.append(unfolded | {name: value for name, value in configuration.items() if name not in shared})
    return found


def _problems(spec: StudySpec) -> Iterator[str]:
    """What is wrong with a study whose entries are well formed, most basic first."""
    yield from _bad_function(spec.model)
    if not spec.search:
        yield "search: nothing to search; name at least one parameter"
    for name, parameter in spec.search.items():
        yield from _bad_name(spec, name)
        yield from _bad_values(spec, name, parameter)
        yield from _bad_conditions(spec, name, parameter)
    yield from _cycles(spec)
    yield from _bad_training(spec)
    yield from bad_aims(spec.objective, spec.constraints, spec.sampler.name, spec.pruner.name)
    yield from _bad_linear(spec)
    yield from _bad_gradients(spec)
    yield from _bad_rank(spec)
    yield from _bad_enqueue(spec)


def _bad_function(model: ModelSpec) -> Iterator[str]:
    module, _, function = model.name.partition(":")
    if model.is_code and not all(part.isidentifier() for part in (*module.split("."), function)):
        yield f"model.name: {model.name!r} names no function; write package.module:function"


def _bad_name(spec: StudySpec, name: str) -> Iterator[str]:
    chooser, owner = owner_of(name)
    if not owner:
        known = known_parameters(spec)
        if name not in known and not spec.model.is_code:
            yield f"search.{name}: {spec.model.name} has no such parameter{_nearest(name, known)}"
        return
    own = name.rpartition(".")[2]
    if not owned(owner):
        yield f"search.{name}: {owner!r} is neither an optimizer nor a schedule{_nearest(owner, [*OPTIMIZERS, *SCHEDULES])}"
    elif own not in owned(owner):
        yield f"search.{name}: {owner} has no such parameter{_nearest(own, owned(owner))}"
    elif owner not in (values(spec.search[chooser]) if chooser in spec.search else (DEFAULTS[chooser],)):
        yield f"search.{name}: {owner} is not a value of {chooser}"


def _bad_values(spec: StudySpec, name: str, parameter: Parameter) -> Iterator[str]:
    owner, _, own = name.rpartition(".")
    limits = owned(owner).get(own) if owner else known_parameters(spec).get(name)
    for value in values(parameter):
        if problem := _refuses(own, value, limits):
            yield f"search.{name}: {value!r} {problem}"
    if isinstance(parameter, IntRange) and isinstance(limits, Limits) and parameter.step % limits.step:
        yield f"search.{name}.step: {parameter.step} is not a multiple of {limits.step}"


def _refuses(name: str, value: Value, limits: Any) -> str:
    """Why a parameter cannot have this value; empty when it can."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "optimizer":
        return _refuses_optimizer(str(value))
    if name == "schedule":
        return "" if value in SCHEDULES else f"is no schedule{_nearest(str(value), SCHEDULES)}"
    if name == "batch_size":
        return "" if type(value) is int and value >= 1 else "is not a whole number of 1 or more"
    if name == "learning_rate":
        return "" if number and value > 0 else "is not a number above 0"  # type: ignore[operator]
    if isinstance(limits, Range):
        top = 1.0 if limits.high <= 1.0 and not limits.log else math.inf  # decay rates lie between 0 and 1
        return "" if number and 0.0 <= value <= top else f"is not a number from 0 to {top:g}"  # type: ignore[operator]
    return limits.refuses(value) if limits is not None else ""


def _refuses_optimizer(name: str) -> str:
    """Why there is no such optimizer; empty when there is."""
    wrapped = [f"{wrapper}:{method}" for wrapper in WRAPPERS for method in OPTIMIZERS]
    try:
        find(name)
    except ValueError as error:
        near = f"; {error}" if name in wrapped else _nearest(name, [*FAMILIES, *OPTIMIZERS, *wrapped, *ALIASES])
        return f"is no optimizer{near or '; `tuner optimizers` lists them'}"
    return ""


def _bad_conditions(spec: StudySpec, name: str, parameter: Parameter) -> Iterator[str]:
    row = None if spec.model.is_code else NETWORKS[spec.model.name]
    if parameter.per_layer and (row is None or name not in row.per_layer):
        allowed = ", ".join(row.per_layer) if row else "none of a function's parameters"
        yield f"search.{name}.per_layer: only {allowed} may differ from layer to layer"
    for other, wanted in parameter.when.items():
        if other not in spec.search:
            yield f"search.{name}.when: no parameter {other!r} in [search]{_nearest(other, spec.search)}"
            continue
        if spec.search[other].per_layer:
            yield f"search.{name}.when.{other}: differs from layer to layer; allowed is what all layers have in common"
        for value in wanted:
            if not contains(spec.search[other], value):
                yield f"search.{name}.when.{other}: {value!r} is not a value of {other}"


def _cycles(spec: StudySpec) -> Iterator[str]:
    done: set[str] = set()
    while waiting := [n for n in spec.search if n not in done]:
        ready = [n for n in waiting if set(spec.search[n].when) <= done]
        if not ready:
            yield f"search.{waiting[0]}.when: these conditions wait for each other: {', '.join(waiting)}"
            return
        done.update(ready)


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
            return any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in values(parameter))


def _bad_training(spec: StudySpec) -> Iterator[str]:
    for metric in spec.train.metrics:
        if metric not in METRICS:
            yield f"train.metrics: no metric {metric!r}{_nearest(metric, METRICS)}"
    name = spec.objective.metric.removeprefix("val_")
    if name not in METRICS and name != "loss":
        allowed = ["val_loss", *(f"val_{metric}" for metric in METRICS)]
        yield f"objective.metric: no metric {spec.objective.metric!r}{_nearest('val_' + name, allowed)}"
    if not spec.objective.metric.startswith("val_"):
        yield f"objective.metric: search on validation data: val_{name}, not {name}"
    if spec.sampler.name == "grid":
        continuous = [n for n, p in spec.search.items() if isinstance(p, FloatRange) and p.step is None]
        if continuous:
            yield f"sampler.name: grid needs a step or choices for {', '.join(continuous)}"
    if spec.pruner.name != "none" and spec.pruner.from_epoch > spec.train.epochs:
        yield f"pruner.from_epoch: {spec.pruner.from_epoch} lies behind the last of {spec.train.epochs} epochs"


def chosen(spec: StudySpec) -> list[Row]:
    """The rows of the optimizers that a study names."""
    named = values(spec.search["optimizer"]) if "optimizer" in spec.search else ()
    return [row for name in named if (row := _row(str(name)))]


def has_hidden_layers(spec: StudySpec) -> bool:
    """Whether some network of the study may be more than one linear layer; a user's function may return anything."""
    row = None if spec.model.is_code else NETWORKS[spec.model.name]
    if row is None or not row.linear:
        return True
    layers = spec.search.get(row.linear)
    return any(value != 0 for value in ([row.parameters[row.linear].default] if layers is None else values(layers)))


def _bad_linear(spec: StudySpec) -> Iterator[str]:
    asking = [row.name for row in chosen(spec) if "linear_model" in row.requires]
    if asking and has_hidden_layers(spec):
        allowed = " or ".join(f"{name} with {row.linear} = 0" for name, row in NETWORKS.items() if row.linear)
        yield f"search.optimizer: {asking[0]} is for models without hidden layers; allowed: {allowed}"
    changing = [name for name in spec.search if name in AUGMENTATION]
    if asking and changing:
        yield f"search.{changing[0]}: {asking[0]} remembers the slope of each row, which augmentation changes; remove one of them"


def _bad_gradients(spec: StudySpec) -> Iterator[str]:
    """What the way to the gradients does not go with."""
    asking = [row.name for row in chosen(spec) if not row.gradient_only]
    if asking and spec.train.precision == "mixed_float16":
        yield f"train.precision: no loss is scaled for {asking[0]}; allowed: float32, mixed_bfloat16"
    if spec.train.backprop == "tape":
        return
    beyond = None if spec.model.is_code else NETWORKS[spec.model.name].beyond_backprop
    if beyond is None:
        able = ", ".join(name for name, row in NETWORKS.items() if row.beyond_backprop is not None)
        yield f"train.backprop: explicit has no formulas for {spec.model.name}; allowed with: {able}"
    for name in spec.search.keys() & set(beyond or ()):
        yield f"search.{name}: explicit back-propagation has no formulas for it; remove it, or train.backprop"
    if asking:
        yield f"train.backprop: {asking[0]} asks for more than a gradient; explicit is for the others"
    if spec.train.precision != "float32":
        yield "train.backprop: explicit computes in float32"


def _bad_rank(spec: StudySpec) -> Iterator[str]:
    if spec.rank is None:
        return
    parameter = spec.search.get(spec.rank)
    lists = {
        name: p for name, p in spec.search.items() if isinstance(p, Choice) and not (p.when or p.per_layer) and len(p.choice) > 1
    }
    if parameter is None or spec.rank not in lists:
        what = "is not in [search]" if parameter is None else "is not a list of choices that every trial has one of"
        yield f"rank: {spec.rank} {what}; allowed: {', '.join(lists) or 'nothing in this study'}"
        return
    count = len(values(parameter))
    if spec.final.finalists != count:
        yield f"final.finalists: with rank there is one for each of the {count} values of {spec.rank}; remove it"
    if spec.budget.trials < count:
        yield f"budget.trials: {spec.budget.trials} are fewer than the {count} values of {spec.rank}"
    if spec.objective.further:
        yield f"objective: with rank allowed is one; remove {', '.join(spec.objective.further)}, or rank"
    if spec.pruner.name == "hyperband":
        yield "pruner.name: with rank allowed are asha, median, none: the brackets of hyperband are for all trials"
    if spec.sampler.name == "grid":
        yield "sampler.name: with rank allowed are all but grid, whose points come as they are"


def _bad_enqueue(spec: StudySpec) -> Iterator[str]:
    if spec.enqueue and spec.sampler.name == "grid":
        yield "enqueue: the points of a grid come as they are; remove it, or write another sampler.name"
    if len(spec.enqueue) > spec.budget.trials:
        yield f"enqueue: {len(spec.enqueue)} configurations, but budget.trials is {spec.budget.trials}"
    known = {own: parameter for name, parameter in spec.search.items() for own in (name, *_in_trials(spec, name))}
    for index, configuration in enumerate(spec.enqueue):
        for name, value in configuration.items():
            if name not in known:
                yield f"enqueue[{index}].{name}: not in [search]{_nearest(name, spec.search)}"
            elif not contains(known[name], value):
                yield f"enqueue[{index}].{name}: {value!r} is not a value of the search space"


def check_task(spec: StudySpec, task: str) -> None:
    """Refuse metrics that the kind of target does not have. Raises `BadInput`."""
    wanted = [("objective.metric", spec.objective.metric.removeprefix("val_"))]
    wanted += [("train.metrics", metric) for metric in spec.train.metrics]
    for key, metric in wanted:
        if metric != "loss" and METRICS[metric].task != task:
            allowed = ", ".join(name for name, row in METRICS.items() if row.task == task)
            raise BadInput(f"{key}: {metric} is for {METRICS[metric].task}, and this is {task}; allowed: loss, {allowed}")
    if spec.train.class_weight != "none" and task != "classification":
        raise BadInput(f"train.class_weight: there are no classes in {task}")


# Reading ------------------------------------------------------------


def load(path: Path, *, data: str | None = None) -> StudySpec:
    """Read a study file; `data` replaces its data source.

    Raises `BadInput` with one line: file, key, what is wrong, what is allowed.
    """
    raw = _read(path)
    raw.setdefault("name", path.stem)
    if data is not None:
        table = raw.get("data")
        raw["data"] = {**(table if isinstance(table, dict) else {}), "source": data}
    return parse(raw, str(path))


def parse(raw: Mapping[str, Any], where: str = "study") -> StudySpec:
    """Check the contents of a study file; `where` begins the error line.

    What the file leaves to the tables is written out, so that a study means the same when the tables have grown.
    """
    search = raw.get("search")
    raw = {**raw, "search": _with_sub_spaces(_flat(search))} if isinstance(search, dict) else dict(raw)
    if isinstance(raw.get("enqueue"), list):
        raw["enqueue"] = [_flat(entry) if isinstance(entry, dict) else entry for entry in raw["enqueue"]]
    try:
        spec = StudySpec.model_validate(raw)
    except ValidationError as error:
        raise BadInput(f"{where}: {_one_line(error)}") from None
    if (package := NEEDS.get(spec.sampler.name)) and importlib.util.find_spec(package) is None:
        raise BadInput(f"{where}: sampler.name: {spec.sampler.name} needs the package {package}: pip install {package}")
    return spec


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with the entries of an optimizer or a schedule, `adam.beta_1 = ...`, under their full names."""
    flat = {}
    for name, raw in table.items():
        if isinstance(raw, dict) and owned(name) and not any(kind in raw for kind in _KINDS):
            flat.update({f"{name}.{own}": value for own, value in raw.items()})
        else:
            flat[name] = raw
    return flat


def _with_sub_spaces(search: Mapping[str, Any]) -> dict[str, Any]:
    """Families replaced by their methods, and the sub-space of each method, unless one learning rate is named for all."""
    raw = search.get("optimizer")
    entry = raw if isinstance(raw, dict) else {"choice": raw} if isinstance(raw, list) else {"value": raw}
    words = [entry["value"]] if entry.get("value") in tuple(FAMILIES) else entry.get("choice")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return dict(search)
    methods = list(dict.fromkeys(method for word in words for method in FAMILIES.get(word, (word,))))
    when = {"when": entry["when"]} if "when" in entry else {}
    found = {**search, "optimizer": {"choice": methods, **when}}
    return found if "learning_rate" in search else {**_sub_spaces(methods, search), **found}


def _sub_spaces(methods: list[str], search: Mapping[str, Any]) -> dict[str, Any]:
    """What a study searches of each method: its rate and what matters most of its own, as far as the file does not name it."""
    rows = [row for method in methods if (row := _row(method))]
    return {
        f"{row.name}.{name}": {"float": [span.low, span.high], "log": span.log}
        for row in rows
        for name, span in {"learning_rate": row.learning_rate, **row.hyper}.items()
        if span.main and name not in search
    }


def restore(text: str) -> StudySpec:
    """The spec that the store holds as JSON; one that was accepted once can be read when the rules have become stricter."""
    return StudySpec.model_validate(json.loads(text), context=ACCEPTED)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise BadInput(f"{path}: larger than {MAX_FILE_BYTES // 1024} KiB; a study file is text of a few lines")
    try:
        return tomllib.loads(content.decode())
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text (byte {error.start})") from None
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        raise BadInput(f"{path}: not valid TOML: {str(error)[:200]}") from None


def _one_line(error: ValidationError) -> str:
    """The first problem, as `key: what is wrong`."""
    problems = error.errors(include_url=False)
    # A misspelt key is unknown and leaves the right one missing; the former is what a person wants to hear.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    # Union members and validators appear in pydantic's path; a user's keys are what stands in the file.
    key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    if first["type"] == "extra_forbidden":
        text = f"unknown key{_nearest(str(first['loc'][-1]), _keys_beside(first['loc']))}"
    elif first["type"] == "missing":
        text = "is missing"
    elif first["type"] == "value_error":
        text = str(first["ctx"]["error"])
    elif first["type"] in ("too_short", "too_long"):
        ends = "at least {min_length}" if first["type"] == "too_short" else "at most {max_length}"
        text = f"has {first['ctx']['actual_length']} entries; allowed are {ends.format(**first['ctx'])}"
    else:
        text = f"{first['msg'][0].lower()}{first['msg'][1:]}, not {_short(first['input'])}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{key}: {text}{more}" if key else f"{text}{more}"


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    if location[0] == "search":
        return sorted({name for kind in _KINDS.values() for name in kind.model_fields})
    model: type[BaseModel] = StudySpec
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return list(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(word: str, words: Iterator[str] | Mapping[str, Any] | list[str]) -> str:
    """The end of an error line: the nearest allowed word, or all of them when they are few."""
    allowed = list(words)
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; allowed: {', '.join(allowed)}" if len(allowed) <= 40 else ""
