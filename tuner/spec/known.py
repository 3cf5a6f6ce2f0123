"""What may stand in `[search]` of a study, and what it is called in trials."""

from collections.abc import Mapping
from typing import Any

from models import NETWORKS, Network
from optimizers import COMMON, OPTIMIZERS, SCHEDULES, WARMUP, WRAPPERS, Range, Row, find
from tuner.spec.parameters import Parameter, values
from tuner.spec.tables import StudySpec
from tuner.trial import Value

# Of what [search] does not name.
DEFAULTS: Mapping[str, Value] = {"batch_size": 64, "optimizer": "adam", "schedule": "constant", "warmup": WARMUP.default or 0.0}


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
    row = row_of(owner)
    return row.numbers if row else {}


def owner_of(name: str) -> tuple[str, str]:
    """The parameter that chooses the owner of a name, and the owner: `adam.beta_1` → `optimizer`, `adam`; empty without one."""
    owner = name.rpartition(".")[0]
    return ("schedule" if owner in SCHEDULES else "optimizer" if owner else ""), owner


def row_of(name: str) -> Row | None:
    """The optimizer of that name; None when there is none."""
    try:
        return find(name)
    except ValueError:
        return None


def taken(row: Row) -> set[str]:
    """What of the training parameters an optimizer takes beside the rate."""
    return {*row.ranges, *(() if "full_batch" in row.requires else ("batch_size",))}


def of_layers(network: Network, search: Mapping[str, Parameter], name: str) -> list[str]:
    """What a parameter that differs from layer to layer is called in trials: `width_1`, `width_2`, ..."""
    counter = network.per_layer[name]
    counts = values(search[counter]) if counter in search else (network.parameters[counter].default,)
    return [f"{name}_{layer}" for layer in range(1, max(map(int, counts)) + 1)]


def in_trials(spec: StudySpec, name: str) -> list[str]:
    """What a parameter of `[search]` is called in trials."""
    return of_layers(NETWORKS[spec.model.name], spec.search, name) if spec.search[name].per_layer else [name]


def enqueued(spec: StudySpec) -> list[dict[str, Value]]:
    """The given configurations as trials have them: `width` is that of every layer, unless a layer has its own, `width_2`."""
    found = []
    for configuration in spec.enqueue:
        shared = {name: value for name, value in configuration.items() if name in spec.search}
        unfolded = {own: value for name, value in shared.items() for own in in_trials(spec, name)}
        found.append(unfolded | {name: value for name, value in configuration.items() if name not in shared})
    return found


def chosen(spec: StudySpec) -> list[Row]:
    """The rows of the optimizers that trials may have."""
    named = values(spec.search["optimizer"]) if "optimizer" in spec.search else (DEFAULTS["optimizer"],)
    return [row for name in named if (row := row_of(str(name)))]


def has_hidden_layers(spec: StudySpec) -> bool:
    """Whether some network of the study may be more than one linear layer; a user's function may return anything."""
    row = None if spec.model.is_code else NETWORKS[spec.model.name]
    if row is None or not row.linear:
        return True
    layers = spec.search.get(row.linear)
    return any(value != 0 for value in ([row.parameters[row.linear].default] if layers is None else values(layers)))
