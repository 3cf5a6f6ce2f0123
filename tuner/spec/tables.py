"""The tables of a study file with all their keys and defaults: `StudySpec` and what it holds."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from tuner.spec.aims import COSTS, Constraint, Frozen, ObjectiveSpec, OneLine, Tuple, left_out_when_empty
from tuner.spec.parameters import Parameter, typed
from tuner.trial import Value

MAX_TRIALS = 10_000
FIRST_RUNG = 4
STARTUP = 10
FINALISTS, TRIALS_A_FINALIST = 5, 10
MAX_FINALISTS = 100
ASHA_FROM_EPOCHS = 8  # below this a rung would compare trials that have hardly begun

Ident = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_]*((:[A-Za-z0-9_]+)?\.[a-z0-9_]+)?$")]


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


class DataSpec(Frozen):
    """`data = "digits"`, or a table: where the rows come from and how they are split.

    `source` is the name of a known data set or a path (IDX folder, folder of images by class, .npz, .csv, .parquet).
    `target` and `weight` name columns of a table; `validation` and `test` are shares of all rows.
    `task` is what the targets are, where they do not tell: whole numbers are classes if they are few. With `normalise` "standard"
    each feature or channel has mean 0 and variance 1 over the training rows, with "unit" it lies between 0 and 1; left out, it is
    "unit" for images, else "standard".
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
    search: dict[Ident, Annotated[Parameter, BeforeValidator(typed)]]
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
