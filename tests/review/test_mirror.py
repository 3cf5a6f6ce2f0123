"""A study as other programs show it: Optuna's dashboard, TensorBoard."""

import json
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.review.studies import SEARCH
from tuner.errors import BadInput
from tuner.review import Review, mirror
from tuner.trial import State


def test_the_dashboard_shows_every_trial_with_its_curve_to_this_machine_alone(small_and_large: dict[int, Review]) -> None:
    review = small_and_large[60]
    shown = [review]
    with mirror.server(lambda: shown, 0, fresh=0.0) as server:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def get(path: str, **headers: str) -> Any:
            asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.load(answer)

        (listed,) = get("/api/studies")["study_summaries"]
        trials = get(f"/api/studies/{listed['study_id']}")["trials"]
        with pytest.raises(BadInput, match=f"--port: {port} cannot be used: "):
            mirror.server(lambda: shown, port)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get("/api/studies", Host=f"elsewhere.example:{port}")
        shown.append(small_and_large[3])
        assert len(get("/api/studies")["study_summaries"]) == 2, "studies that came later are shown as well"
        server.shutdown()
    assert (listed["study_name"], listed["directions"]) == ("of 60", ["maximize"])
    assert [(t["number"], t["state"]) for t in trials] == [(t.number, t.state.name.capitalize()) for t in review.trials]
    assert [len(t["intermediate_values"]) for t in trials] == [row.epoch for row in review.rows]
    assert {t["number"]: t["values"] for t in trials if t["state"] == "Complete"} == {
        e.row.number: [e.value] for e in review.ranked
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_reads_the_curves_parameters_and_outcomes_that_were_exported(
    small_and_large: dict[int, Review], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    from tuner.review import board

    def read(folder: Path) -> EventAccumulator:
        found = EventAccumulator(str(folder))
        found.Reload()
        return found

    def told(found: EventAccumulator, tag: str) -> HParamsPluginData:
        content = found.SummaryMetadata(tag).plugin_data.content
        return HParamsPluginData.FromString(content)

    review = small_and_large[60]
    board.export(review, tmp_path)
    board.export(review, tmp_path)  # over the first
    assert len(list(tmp_path.glob("trial-*/*"))) == 60
    config = told(read(tmp_path), "_hparams_/experiment").experiment
    assert [info.name for info in config.hparam_infos] == [name for name in SEARCH if name != "bias"]
    assert [info.name.tag for info in config.metric_infos] == ["best/val_accuracy"]
    for number in (0, 7):  # complete, failed
        row, found = review.rows[number], read(tmp_path / f"trial-{number:05}")
        curve = [(e.step, e.value) for e in found.Scalars("val_accuracy")]
        assert curve == [(e.epoch, pytest.approx(e.metrics["val_accuracy"])) for e in review.epochs[number]]
        start = told(found, "_hparams_/session_start_info").session_start_info.hparams
        assert row.params is not None
        assert start.keys() == row.params.keys()
        assert start["learning_rate"].number_value == row.params["learning_rate"]
        end = told(found, "_hparams_/session_end_info").session_end_info.status
        assert end == (2 if number == 7 else 1)  # STATUS_FAILURE, STATUS_SUCCESS
        if row.state is State.COMPLETE:
            assert [e.value for e in found.Scalars("best/val_accuracy")] == [pytest.approx(row.value)]
