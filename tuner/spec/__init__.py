"""The study file: TOML in, a frozen `StudySpec` out, or one line that says what is wrong.

This is the only place where a user's input is checked and the only place where defaults live. Everything downstream trusts it.
`tables` has every key of the file, `parameters` what may stand behind a name in `[search]`, `known` the names, `aims` objectives
and constraints, `checks` what does not go together.
"""

import importlib.util
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from optimizers import FAMILIES
from tuner.errors import BadInput
from tuner.spec.checks import check_task, nearest, problems
from tuner.spec.known import DEFAULTS, chosen, enqueued, has_hidden_layers, of_layers, owned, owner_of, row_of, taken
from tuner.spec.parameters import KINDS, Choice, Fixed, FloatRange, IntRange, Parameter, contains, values
from tuner.spec.tables import MAX_TRIALS, BudgetSpec, DataSpec, PrunerSpec, SamplerSpec, StudySpec, TrainSpec

__all__ = [
    "DEFAULTS",
    "MAX_TRIALS",
    "BudgetSpec",
    "Choice",
    "DataSpec",
    "Fixed",
    "FloatRange",
    "IntRange",
    "Parameter",
    "PrunerSpec",
    "SamplerSpec",
    "StudySpec",
    "TrainSpec",
    "check_task",
    "chosen",
    "contains",
    "enqueued",
    "has_hidden_layers",
    "load",
    "of_layers",
    "owned",
    "owner_of",
    "parse",
    "restore",
    "taken",
    "values",
]

_KIND = re.compile(r"(int|float|str|bool)$|constrained-|literal\[")  # as pydantic calls the members of a union
MAX_FILE_BYTES = 256 * 1024
NEEDS = {"gp": "torch", "cmaes": "cmaes"}  # samplers that want a package of their own


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
    if problem := next(problems(spec), ""):
        raise BadInput(f"{where}: {problem}")
    if (package := NEEDS.get(spec.sampler.name)) and importlib.util.find_spec(package) is None:
        raise BadInput(f"{where}: sampler.name: {spec.sampler.name} needs the package {package}: pip install {package}")
    return spec


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with the entries of an optimizer or a schedule, `adam.beta_1 = ...`, under their full names."""
    flat = {}
    for name, raw in table.items():
        if isinstance(raw, dict) and owned(name) and not any(kind in raw for kind in KINDS):
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
    rows = [row for method in methods if (row := row_of(method))]
    return {
        f"{row.name}.{name}": {"float": [span.low, span.high], "log": span.log}
        for row in rows
        for name, span in {"learning_rate": row.learning_rate, **row.hyper}.items()
        if span.main and name not in search
    }


def restore(text: str) -> StudySpec:
    """The spec that the store holds as JSON; one that was accepted once can be read when the rules have become stricter."""
    return StudySpec.model_validate(json.loads(text))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise BadInput(f"{path}: larger than {MAX_FILE_BYTES // 1024} KiB; a study file is text of a few lines")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # Windows' editors begin a file with a mark
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
    same = _alternatives(first, problems)
    location = first["loc"] if len(same) == 1 else first["loc"][:-1]
    # Validators appear in pydantic's path; a user's keys are what stands in the file.
    key = ".".join(str(part) for part in location if not str(part).startswith("function-"))
    if first["type"] == "extra_forbidden":
        text = f"unknown key{nearest(str(first['loc'][-1]), _keys_beside(first['loc']))}"
    elif first["type"] == "missing":
        text = "is missing"
    elif first["type"] == "value_error":
        text = str(first["ctx"]["error"])
    elif first["type"] in ("too_short", "too_long"):
        ends = "at least {min_length}" if first["type"] == "too_short" else "at most {max_length}"
        text = f"has {first['ctx']['actual_length']} entries; allowed are {ends.format(**first['ctx'])}"
    else:
        text = f"{' or '.join(_wanted(same))}, not {_short(first['input'])}"
    more = f" (and {len(problems) - len(same)} more)" if len(problems) > len(same) else ""
    return f"{key}: {text}{more}" if key else f"{text}{more}"


def _alternatives(first: Any, problems: list[Any]) -> list[Any]:
    """A problem with its like: a value that is of none of several kinds is one for each of them, named behind its key."""
    same = [problem for problem in problems if problem["loc"][:-1] == first["loc"][:-1]]
    return same if len(same) > 1 and all(_KIND.match(str(problem["loc"][-1])) for problem in same) else [first]


def _wanted(same: list[Any]) -> list[str]:
    """What a value should be, each kind once."""
    head, *others = dict.fromkeys(f"{problem['msg'][0].lower()}{problem['msg'][1:]}" for problem in same)
    return [head, *(other.removeprefix("input should be ") for other in others)]


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed where an unknown one was found."""
    if location[0] == "search":
        return sorted({name for kind in KINDS.values() for name in kind.model_fields})
    model: type[BaseModel] = StudySpec
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return list(model.model_fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
