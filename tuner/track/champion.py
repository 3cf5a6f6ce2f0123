"""Log a winner's model to its race's run and register it, in a process that loads TensorFlow; the tracker itself does not.

`python -m tuner.track.champion` reads one line of JSON. The version is made last, so that a kill leaves none that is half there.
"""

import json
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tuner import winner
from tuner.errors import TunerError
from tuner.track.door import CHAMPION
from tuner.trial import Checkpoint

NEEDED = ("keras", "tensorflow", "numpy", "mlflow")
READY = 60  # seconds that a registry may take


def main() -> int:
    """Log what the order says; exit code 1 with a line that says why it could not be done."""
    os.nice(10)
    order = json.loads(sys.stdin.readline())
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    try:
        model = winner.load(Checkpoint(Path(order["file"]), order["epoch"], order["sha256"]))
    except TunerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _register(model, order)
    return 0


def _register(model: Any, order: dict[str, Any]) -> None:
    import mlflow.tensorflow  # noqa: PLC0415 — MLflow loads after the model was found good
    import numpy as np  # noqa: PLC0415 — the same
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415 — the same
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415 — the same

    mlflow.set_tracking_uri(order["mlflow"])
    mlflow.set_registry_uri(order["mlflow"])
    mlflow.set_experiment(experiment_id=order["experiment"])
    shape_in, shape_out = ((-1, *shape[1:]) for shape in (model.input_shape, model.output_shape))
    inputs, outputs = (Schema([TensorSpec(np.dtype(np.float32), shape)]) for shape in (shape_in, shape_out))
    logged = Model.log(
        artifact_path=None,
        name="winner",
        flavor=mlflow.tensorflow,
        run_id=order["run"],
        model=model,
        signature=ModelSignature(inputs, outputs),
        input_example=np.zeros((1, *shape_in[1:]), np.float32),
        pip_requirements=[f"{package}=={version(package)}" for package in NEEDED],
        metadata=order["tags"],
        tags=order["tags"],
    )
    client = mlflow.MlflowClient()
    made = client.create_model_version(
        order["name"], logged.model_uri, order["run"], order["tags"], description=order["told"],
        await_creation_for=READY, model_id=logged.model_id,
    )  # fmt: skip
    client.set_registered_model_alias(order["name"], CHAMPION, made.version)


if __name__ == "__main__":
    sys.exit(main())
