"""A study as TOML: the file that asks its question, and single entries of one."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tuner.spec import Parameter, StudySpec


def study_file(spec: StudySpec, *, defaults: bool = True) -> str:
    """The study as a TOML file that asks the same question; what is as by default is left out if asked."""
    raw = spec.model_dump(mode="json", exclude_defaults=not defaults)
    plain = {key: value for key, value in raw.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in raw.items() if isinstance(value, dict)}
    lines = [*_assignments(plain)]
    for key, entries in tables.items():
        lines += ["", f"[{key}]", *_assignments(entries)]
    return "\n".join(lines) + "\n"


def entry(parameter: Parameter) -> str:
    """What stands behind a name in `[search]`, as short as a person writes it."""
    raw = parameter.model_dump(mode="json", exclude_defaults=True)
    return value(next(iter(raw.values())) if raw.keys() <= {"choice"} or raw.keys() <= {"value"} else raw)


def value(content: Any) -> str:
    """A value behind an equals sign."""
    match content:
        case dict():
            return "{" + ", ".join(_assignments(content)) + "}"
        case list():
            return "[" + ", ".join(map(value, content)) + "]"
        case str():
            return json.dumps(content, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(content)


def _assignments(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {value(content)}" for key, content in table.items() if content is not None]


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else json.dumps(name)
