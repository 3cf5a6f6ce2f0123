"""What MLflow is told of a study and of a trial: names, parameters, tags and points, as it takes them."""

import math
from collections.abc import Iterable

from tuner import race, verdict
from tuner.race import Result
from tuner.store import Row, Stage, Study
from tuner.track import prepared
from tuner.track.door import IDENTITY, PARAM_LENGTH, TAG_LENGTH, Point
from tuner.trial import Epoch, State


def study_params(study: Study) -> dict[str, str]:
    """What was asked, as the parameters of a study's run."""
    spec = study.spec
    return {
        "model": spec.model.name,
        "data": cut(spec.data.source, PARAM_LENGTH),
        "objective": spec.objective.metric,
        "direction": spec.objective.direction,
        "sampler": spec.sampler.name,
        "pruner": spec.pruner.name,
        "budget": str(spec.budget.trials),
        "epochs": str(spec.train.epochs),
        "seed": str(spec.seed),
        **({"further": ", ".join(spec.objective.further)} if spec.objective.further else {}),
        **({"constraints": ", ".join(map(str, spec.constraints))} if spec.constraints else {}),
    }


def launch_tags(study: Study) -> dict[str, str]:
    """Where a study was launched, as MLflow calls it where it has a name."""
    facts = study.facts
    tags = {f"version.{name}": version for name, version in facts.get("versions", {}).items()}
    tags |= {"machine": facts.get("machine", ""), "commit": facts.get("commit", ""), "data.sha256": facts.get("sha256", "")}
    tags |= {"mlflow.source.name": "tuner", "mlflow.source.git.commit": tags["commit"].partition(",")[0]}
    return {key: cut(value, TAG_LENGTH) for key, value in tags.items() if value}


def trial_tags(study: Study, identity: str, parent: str, row: Row) -> dict[str, str]:
    """Whose run it is, below which other, and how the trial fares; without what does not apply."""
    raced = race.entrant(study, row.number) if study.stage is Stage.RACE else None
    tags = {
        IDENTITY: identity,
        "study": study.name,
        "mlflow.parentRunId": parent,
        "trial": str(row.number),
        "stage": "" if study.stage is Stage.SEARCH else study.stage.value,
        "finalist": f"trial {raced.trial}" if raced else "",
        "seed": str(raced.seed) if raced else "",
        "state": row.state.value,
        "attempts": str(row.attempts),
        "failure": row.failure.value if row.failure else "",
        "message": cut(row.message, TAG_LENGTH),
        "pruned_at": str(row.epoch) if row.state is State.PRUNED else "",
    }
    return {key: value for key, value in tags.items() if value}


def run_name(study: Study, row: Row) -> str:
    """What the run of a trial is called."""
    match study.stage:
        case Stage.RACE:
            raced = race.entrant(study, row.number)
            return f"finalist trial {raced.trial}, seed {raced.seed}"
        case Stage.TEST:
            return "winner, scored"
    return f"trial {row.number}"


def winner(study: Study, found: Result | None, at: int) -> tuple[dict[str, str], list[Point]]:
    """What a race has found so far, as tags and as metrics; when another one is to come, it loses the tags of the last."""
    if found is None:
        return ({} if study.followed else {"race": "to come", "winner": "", "tie": ""}), []
    tags = {"race": cut(" · ".join(verdict.lines(found)), TAG_LENGTH)}
    if (winner := found.winner) is None or winner.mean is None or winner.interval is None:
        return tags, []
    tags |= {"winner": str(winner.trial), "tie": ", ".join(str(one.trial) for one in found.ties)}
    low, high = winner.interval
    values = {"winner_mean": winner.mean, "winner_low": low, "winner_high": high, "winner_searched": winner.searched}
    if (score := found.score) is not None and score.value is not None and score.interval is not None:
        values |= {score.metric: score.value, f"{score.metric}_low": score.interval[0], f"{score.metric}_high": score.interval[1]}
    return tags, [Point(key, value, at, 0) for key, value in values.items()]


def trial_params(row: Row) -> dict[str, str]:
    """The parameters of a trial, those too long for MLflow cut."""
    return {key: cut(str(value), PARAM_LENGTH) for key, value in (row.params or {}).items()}


def end_points(study: Study, row: Row) -> list[Point]:
    """What is known once a trial has ended, under the same names in all studies."""
    if row.ended is None:
        return []
    seconds = None if row.started is None else row.ended - row.started
    values = {"objective": row.value, "parameters": row.parameters or None, "seconds": seconds, **row.costs}
    values |= prepared.logarithms(study.spec, row.params or {})
    return [Point(key, value, ms(row.ended), row.epoch) for key, value in values.items() if value is not None]


def curves(epochs: Iterable[tuple[Epoch, float]]) -> tuple[list[Point], str]:
    """The points of every metric, and which of them were infinite."""
    points = [Point(key, value, ms(at), epoch.epoch) for epoch, at in epochs for key, value in epoch.metrics.items()]
    infinite = [point for point in points if math.isinf(point.value)]
    if not infinite:
        return points, ""
    said = ", ".join(f"{point.key} is {point.value} after epoch {point.step}" for point in infinite)
    return [point._replace(value=math.nan) if math.isinf(point.value) else point for point in points], cut(said, TAG_LENGTH)


def cut(text: str, length: int) -> str:
    """The text in so many characters at most, with a mark where it was longer."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def ms(seconds: float) -> int:
    """A time in MLflow's unit."""
    return round(seconds * 1000)
