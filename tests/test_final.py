"""The winner's last training and its score: what is trained on, when the test rows are asked for, and that the score is right."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import study_spec
from tuner import data as sources
from tuner import interval
from tuner.errors import Unwritable
from tuner.final import Final
from tuner.solo import Solo
from tuner.spec import StudySpec
from tuner.trial import Epoch, Trial

WIDTH = 12
STOCK = """
import sys, numpy, keras
model = keras.models.load_model(sys.argv[1], safe_mode=True)
numpy.save(sys.argv[2] + "/answers.npy", model.predict(numpy.load(sys.argv[2] + "/rows.npy"), verbose=0))
assert not {"models", "tuner", "optimizers"} & sys.modules.keys()
"""
CONVOLUTIONAL = {
    "filters": [4, 8],
    "normalisation": ["batch"],
    "dropout": {"float": [0.0, 0.5]},
    "learning_rate": {"float": [1e-3, 1e-1]},
}
CONVOLVED = {"filters": 4, "normalisation": "batch", "dropout": 0.2, "learning_rate": 0.03}
PARAMS = {"width": WIDTH, "optimizer": "adam", "learning_rate": 0.02, "schedule": "cosine"}


def unwritable(width: int, outputs: int) -> keras.Model:
    class Own(keras.layers.Dense):
        def save_own_variables(self, store: object) -> None:
            raise ValueError("not me")

    del width
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), Own(outputs)])


def study(epochs: int = 2, **changes: object) -> StudySpec:
    search = {"width": [8, 12], "optimizer": ["adam", "schedule_free_sgd"], "learning_rate": {"float": [1e-3, 1.0]}}
    search["schedule"] = ["constant", "cosine"]
    given = {"data": "digits", "train": {"epochs": epochs, "jit": False}, "search": search, **changes}
    return study_spec(**given)


def trained(engine: Final | Solo, trial: Trial, epochs: int) -> list[Epoch]:
    engine.add(trial)
    return [epoch for _ in range(epochs) for epoch in engine.advance()]


def final(spec: StudySpec, full: int) -> tuple[Final, sources.Tested]:
    data = sources.load_tested(spec.data, spec.seed, [], refit=spec.final.refit)
    return Final(spec, data, full), data


@pytest.mark.parametrize(("optimizer", "rate"), [("adam", 0.02), ("schedule_free_sgd", 0.5)])
def test_the_score_is_that_of_the_trained_weights_on_the_test_rows(optimizer: str, rate: float) -> None:
    engine, data = final(study(), 3)
    first, last = trained(engine, Trial(0, {**PARAMS, "optimizer": optimizer, "learning_rate": rate}, 5), 2)
    assert not any(name.startswith("test_") for name in first.metrics)
    assert engine.room == 1
    graph = engine._solo._seat.graph
    if optimizer != "adam":
        graph._optimizer.swap_to_evaluation()
    kernels = [np.asarray(variable) for variable in graph.model.trainable_variables]
    dense = [*(keras.layers.Dense(WIDTH, "relu") for _ in range(2)), keras.layers.Dense(10, "softmax")]
    peer = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *dense])
    peer.set_weights(kernels)
    p = peer.predict(data.test.x / np.float32(16), verbose=0)
    share = float(np.mean(p.argmax(axis=1) == data.test.y))
    assert last.metrics["test_accuracy"] == pytest.approx(share)
    assert last.metrics["test_loss"] == pytest.approx(-np.log(p[np.arange(len(p)), data.test.y]).mean(), rel=1e-4)
    ends = last.metrics["test_accuracy_low"], last.metrics["test_accuracy_high"]
    assert ends == pytest.approx(interval.of_share(share, len(data.test.y)))


def test_it_trains_as_the_race_did_up_to_its_own_last_epoch() -> None:
    raced = trained(Solo(study(epochs=4), sources.load(study().data, 0, [])), Trial(0, PARAMS, 5), 4)
    engine, _ = final(study(epochs=2), 4)
    mine = trained(engine, Trial(0, PARAMS, 5), 2)
    assert [epoch.metrics["val_loss"] for epoch in mine] == [epoch.metrics["val_loss"] for epoch in raced[:2]]


def test_with_refit_it_trains_on_the_rows_of_validation_and_says_nothing_of_them() -> None:
    engine, data = final(study(final={"finalists": 1, "refit": True}), 2)
    epochs = trained(engine, Trial(0, PARAMS, 5), 2)
    assert (engine._solo._study.rows, len(data.test.y)) == (1797 - 359, 359)
    assert not any(name.startswith("val_") for epoch in epochs for name in epoch.metrics)
    assert epochs[-1].metrics["test_accuracy"] > 0.5


def test_it_goes_on_from_a_checkpoint_to_the_same_score(tmp_path) -> None:
    engine, _ = final(study(), 2)
    whole = trained(engine, Trial(0, PARAMS, 5), 2)
    trained(engine, Trial(0, PARAMS, 5), 1)
    saved = engine.save(0, tmp_path)
    other, _ = final(study(), 2)
    (last,) = trained(other, Trial(0, PARAMS, 5, saved), 1)
    assert last.metrics == whole[-1].metrics


@pytest.mark.parametrize(
    ("changes", "params"),
    [
        ({}, {**PARAMS, "optimizer": "schedule_free_sgd", "learning_rate": 0.5}),
        ({"model": "convnet", "train": {"epochs": 2, "precision": "mixed_bfloat16"}, "search": CONVOLUTIONAL}, CONVOLVED),
        ({"data": "diabetes", "objective": "val_rmse"}, {**PARAMS, "optimizer": "adam"}),
    ],
)
def test_what_was_scored_is_kept_as_a_model_of_keras_own_layers_that_takes_raw_rows(
    changes: dict[str, Any], params: dict[str, Any], tmp_path: Path
) -> None:
    engine, data = final(study(**changes), 2)
    last = trained(engine, Trial(0, params, 5), 2)[-1]
    saved = engine.save(0, tmp_path)
    assert (saved.path.name, hashlib.sha256(saved.path.read_bytes()).hexdigest()) == ("0-2.keras", saved.sha256)
    np.save(tmp_path / "rows.npy", data.test.x)
    subprocess.run(
        [sys.executable, "-c", STOCK, saved.path, tmp_path], check=True, env={**os.environ, "PYTHONPATH": ""}, cwd=tmp_path
    )
    answered = np.load(tmp_path / "answers.npy").astype(np.float64)
    if "data" in changes:
        assert np.sqrt(np.mean((answered[:, 0] - data.test.y) ** 2)) == pytest.approx(last.metrics["test_rmse"], rel=1e-5)
    else:
        rows = np.arange(len(answered))
        assert -np.log(answered[rows, data.test.y]).mean() == pytest.approx(last.metrics["test_loss"], rel=1e-2)
        assert np.mean(answered.argmax(axis=1) == data.test.y) == pytest.approx(last.metrics["test_accuracy"], abs=0.003)


def test_a_network_that_keras_cannot_write_says_so(tmp_path: Path) -> None:
    search = {"width": [8, 12], "learning_rate": {"float": [1e-3, 1.0]}}
    engine, _ = final(study(model="tests.test_final:unwritable", search=search), 2)
    trained(engine, Trial(0, {"width": 8, "learning_rate": 0.1}, 5), 2)
    with pytest.raises(Unwritable, match="ValueError: not me"):
        engine.save(0, tmp_path)


def test_a_metric_that_is_no_share_has_the_interval_of_resampled_rows() -> None:
    search = {"width": [8, 12], "learning_rate": {"float": [1e-3, 1e-1]}}
    engine, data = final(study(data="diabetes", objective="val_rmse", search=search), 2)
    last = trained(engine, Trial(0, {"width": WIDTH, "learning_rate": 0.02}, 5), 2)[-1]
    value, low, high = (last.metrics[f"test_rmse{end}"] for end in ("", "_low", "_high"))
    assert low < value < high
    assert (high - low) / value == pytest.approx(4 * 0.5**0.5 / len(data.test.y) ** 0.5, rel=0.5)  # were errors normal
