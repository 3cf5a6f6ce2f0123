"""A study file and its data, checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.cli import places
from tuner.cli.shell import complain
from tuner.errors import BadInput

if TYPE_CHECKING:
    from tuner.data import Facts
    from tuner.spec import StudySpec


def checked(file: Path, data: str | None, *, allow_code: bool) -> "tuple[StudySpec, Facts]":
    """The study and what is known of its data, or `BadInput` with file and key."""
    from tuner import data as sources
    from tuner import family, space
    from tuner import spec as specs

    spec = specs.load(file, data=data)
    try:
        if spec.model.is_code and not allow_code:
            raise BadInput(f"model.name: {spec.model.name} is code; allow it to run with --allow-code")
        known = sources.facts(spec.data, places.roots(data))
        specs.check_task(spec, known.task)
        rows, searched = sources.training_rows(known.rows, spec.data), space.Space(spec)
        searched.check()
        family.check(family.Family(searched, known.input_shape, known.outputs, rows))
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return spec, known


def caution(spec: "StudySpec") -> None:
    """Say on the error stream what of a study is allowed but hardly meant."""
    from tuner import explain

    for text in explain.cautions(spec):
        complain(f"caution: {text}")


def budget(spec: "StudySpec") -> int:
    """How many trials there will be."""
    from tuner.space import Space

    return int(min(spec.budget.trials, Space(spec).most_trials))


def facts(spec: "StudySpec", known: "Facts", data: str | None) -> dict[str, Any]:
    """What is kept with a study: of its data, and of where it is launched."""
    from tuner import data as sources
    from tuner import provenance

    sha256 = sources.fingerprint(spec.data, places.roots(data))
    return {**sources.recorded(known, sha256), **provenance.facts(Path.cwd())}


def moved(spec: "StudySpec", data: str | None) -> "StudySpec":
    """A study whose rows are taken from the path `data`, if there is one."""
    return spec if data is None else spec.model_copy(update={"data": spec.data.model_copy(update={"source": data})})
