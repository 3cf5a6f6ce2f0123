"""What is wrong with a study whose entries are well formed, by themselves and with what they are used for."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from models import AUGMENTATION, NETWORKS, Limits
from optimizers import ALIASES, CLIPS, FAMILIES, OPTIMIZERS, SCHEDULES, WRAPPERS, Range, find
from tuner.errors import BadInput
from tuner.metrics import METRICS
from tuner.spec.aims import bad_aims
from tuner.spec.known import DEFAULTS, chosen, has_hidden_layers, in_trials, known_parameters, owned, owner_of, taken
from tuner.spec.parameters import Choice, FloatRange, IntRange, Parameter, contains, values
from tuner.spec.tables import ModelSpec, StudySpec
from tuner.trial import Value


def problems(spec: StudySpec) -> Iterator[str]:
    """What is wrong with a study whose entries are well formed, most basic first."""
    yield from _bad_model(spec.model)
    if not spec.search:
        yield "search: nothing to search; name at least one parameter"
    for name, parameter in spec.search.items():
        yield from _bad_name(spec, name)
        yield from _bad_values(spec, name, parameter)
        yield from _bad_conditions(spec, name, parameter)
    yield from _cycles(spec)
    yield from _unused(spec)
    yield from _bad_training(spec)
    yield from bad_aims(spec.objective, spec.constraints, spec.sampler.name, spec.pruner.name)
    yield from _bad_clips(spec)
    yield from _bad_linear(spec)
    yield from _bad_gradients(spec)
    yield from _bad_rank(spec)
    yield from _bad_enqueue(spec)


def _bad_model(model: ModelSpec) -> Iterator[str]:
    if not model.is_code and model.name not in NETWORKS:
        yield f"model: no network {model.name!r}{nearest(model.name, NETWORKS)}; or write package.module:function"
    module, _, function = model.name.partition(":")
    if model.is_code and not all(part.isidentifier() for part in (*module.split("."), function)):
        yield f"model.name: {model.name!r} names no function; write package.module:function"


def _bad_name(spec: StudySpec, name: str) -> Iterator[str]:
    chooser, owner = owner_of(name)
    if not owner:
        known = known_parameters(spec)
        if name not in known and not spec.model.is_code:
            yield f"search.{name}: {spec.model.name} has no such parameter{nearest(name, known)}"
        return
    own = name.rpartition(".")[2]
    if not owned(owner):
        yield f"search.{name}: {owner!r} is neither an optimizer nor a schedule{nearest(owner, [*OPTIMIZERS, *SCHEDULES])}"
    elif own not in owned(owner):
        yield f"search.{name}: {owner} has no such parameter{nearest(own, owned(owner))}"
    elif owner not in (values(spec.search[chooser]) if chooser in spec.search else (DEFAULTS[chooser],)):
        yield f"search.{name}: {owner} is not a value of {chooser}"


def _bad_values(spec: StudySpec, name: str, parameter: Parameter) -> Iterator[str]:
    own, bounds = name.rpartition(".")[2], _limits(spec, name)
    for value in values(parameter):
        if problem := next(filter(None, (_refuses(own, value, limits) for limits in bounds)), ""):
            yield f"search.{name}: {value!r} {problem}"
    for limits in bounds:
        if isinstance(parameter, IntRange) and isinstance(limits, Limits) and parameter.step % limits.step:
            yield f"search.{name}.step: {parameter.step} is not a multiple of {limits.step}"


def _limits(spec: StudySpec, name: str) -> list[Any]:
    """What the values of a parameter keep to: its owner's limits, else those of each optimizer that shares it, else its own."""
    owner, _, own = name.rpartition(".")
    if owner:
        return [owned(owner).get(own)]
    return [row.numbers[name] for row in chosen(spec) if name in row.numbers] or [known_parameters(spec).get(name)]


def _refuses(name: str, value: Value, limits: Any) -> str:
    """Why a parameter cannot have this value; empty when it can."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "optimizer":
        return _refuses_optimizer(str(value))
    if name == "schedule":
        return "" if value in SCHEDULES else f"is no schedule{nearest(str(value), SCHEDULES)}"
    if name == "batch_size":
        return "" if type(value) is int and value >= 1 else "is not a whole number of 1 or more"
    if name == "learning_rate":
        return "" if number and value > 0 else "is not a number above 0"  # type: ignore[operator]
    if isinstance(limits, Range):
        return "" if number and limits.allowed.holds(value) else f"is not a number in {limits.allowed}"
    return limits.refuses(value) if limits is not None else ""


def _refuses_optimizer(name: str) -> str:
    """Why there is no such optimizer; empty when there is."""
    wrapped = [f"{wrapper}:{method}" for wrapper in WRAPPERS for method in OPTIMIZERS]
    try:
        find(name)
    except ValueError as error:
        near = f"; {error}" if name in wrapped else nearest(name, [*FAMILIES, *OPTIMIZERS, *wrapped, *ALIASES])
        return f"is no optimizer{near or '; `tuner optimizers` lists them'}"
    return ""


def _bad_conditions(spec: StudySpec, name: str, parameter: Parameter) -> Iterator[str]:
    row = None if spec.model.is_code else NETWORKS[spec.model.name]
    if parameter.per_layer and (row is None or name not in row.per_layer):
        allowed = ", ".join(row.per_layer) if row else "none of a function's parameters"
        yield f"search.{name}.per_layer: only {allowed} may differ from layer to layer"
    for other, wanted in parameter.when.items():
        if other not in spec.search:
            yield f"search.{name}.when: no parameter {other!r} in [search]{nearest(other, spec.search)}"
            continue
        if spec.search[other].per_layer:
            yield f"search.{name}.when.{other}: differs from layer to layer; allowed is what all layers have in common"
        if not wanted:
            yield f"search.{name}.when.{other}: names no value, so that no trial would have {name}"
        for value in wanted:
            if not contains(spec.search[other], value):
                yield f"search.{name}.when.{other}: {value!r} is not a value of {other}"


def _unused(spec: StudySpec) -> Iterator[str]:
    """What belongs to optimizers, and to none with which it is searched; a user's function may take anything."""
    if spec.model.is_code:
        return
    rows = chosen(spec)
    others = {*NETWORKS[spec.model.name].parameters, "optimizer", "learning_rate", "schedule", "warmup"}
    for name in (name for name in spec.search if name not in others and not owner_of(name)[1]):
        having = [row.name for row in rows if name in taken(row)]
        wanted = spec.search[name].when.get("optimizer", having)
        if not having:
            methods = ", ".join(row.name for row in rows)
            yield f"search.{name}: not taken by {methods}; remove it, or add an optimizer that takes it"
        elif not set(wanted) & set(having):
            yield f"search.{name}.when.optimizer: not taken by {', '.join(map(str, wanted))}; allowed: {', '.join(having)}"


def _cycles(spec: StudySpec) -> Iterator[str]:
    done: set[str] = set()
    while waiting := [n for n in spec.search if n not in done]:
        ready = [n for n in waiting if set(spec.search[n].when) <= done]
        if not ready:
            yield f"search.{waiting[0]}.when: these conditions wait for each other: {', '.join(waiting)}"
            return
        done.update(ready)


def _bad_training(spec: StudySpec) -> Iterator[str]:
    for metric in spec.train.metrics:
        if metric not in METRICS:
            yield f"train.metrics: no metric {metric!r}{nearest(metric, METRICS)}"
    name = spec.objective.metric.removeprefix("val_")
    if name not in METRICS and name != "loss":
        allowed = ["val_loss", *(f"val_{metric}" for metric in METRICS)]
        yield f"objective.metric: no metric {spec.objective.metric!r}{nearest('val_' + name, allowed)}"
    if not spec.objective.metric.startswith("val_"):
        yield f"objective.metric: search on validation data: val_{name}, not {name}"
    if spec.sampler.name == "grid":
        continuous = [n for n, p in spec.search.items() if isinstance(p, FloatRange) and p.step is None]
        if continuous:
            yield f"sampler.name: grid needs a step or choices for {', '.join(continuous)}"
    if spec.pruner.name != "none" and spec.pruner.from_epoch > spec.train.epochs:
        yield f"pruner.from_epoch: {spec.pruner.from_epoch} lies behind the last of {spec.train.epochs} epochs"


def _bad_clips(spec: StudySpec) -> Iterator[str]:
    """Several clips that a trial would always have together; with `when` they may exclude each other."""
    always = {name for name, parameter in spec.search.items() if not parameter.when}
    for row in chosen(spec):
        names = [name for clip in CLIPS for name in (clip, f"{row.name}.{clip}") if clip in row.ranges and name in always]
        if len({name.rpartition(".")[2] for name in names}) > 1:
            yield f"search.{names[1]}: {row.name} clips in one way; remove {' or '.join(names)}"
            return


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
    known = {own: parameter for name, parameter in spec.search.items() for own in (name, *in_trials(spec, name))}
    for index, configuration in enumerate(spec.enqueue):
        for name, value in configuration.items():
            if name not in known:
                yield f"enqueue[{index}].{name}: not in [search]{nearest(name, spec.search)}"
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


def nearest(word: str, words: Iterator[str] | Mapping[str, Any] | list[str]) -> str:
    """The end of an error line: the nearest allowed word, or all of them when they are few."""
    allowed = list(words)
    near = difflib.get_close_matches(word, allowed, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; allowed: {', '.join(allowed)}" if len(allowed) <= 40 else ""
