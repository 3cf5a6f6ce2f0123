"""A study as event files for TensorBoard: a folder a trial with its curves and outcome, and what its HParams tab needs.

The table of HParams shows the last value of a metric; that of the objective stands under `best/`, as the trial's value. Only
TensorBoard's messages are used: its functions that make them load TensorFlow.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Value
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    STATUS_FAILURE,
    STATUS_SUCCESS,
    Experiment,
    HParamInfo,
    Interval,
    MetricInfo,
    MetricName,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from tuner import trial
from tuner.dimension import Dimension
from tuner.review.results import Review
from tuner.spec import Choice, values
from tuner.store import Row
from tuner.trial import Epoch, State

FILE = "events.out.tfevents.0.tuner"  # TensorBoard takes files that are called so


def export(review: Review, folder: Path) -> Path:
    """Write the event files into the folder, over those that were there, and return it."""
    objective = f"best/{review.study.spec.objective.metric}"
    experiment = Experiment(
        name=review.study.name,
        time_created_secs=review.study.created,
        hparam_infos=[_searched(dimension) for dimension in review.space.free.values()],
        metric_infos=[MetricInfo(name=MetricName(tag=objective))],
    )
    about = _about(metadata.EXPERIMENT_TAG, experiment=experiment)
    _write(folder / FILE, [_event(review.study.created, 0, about)])
    for row in review.rows:
        if row.params is not None and row.started is not None:
            epochs = review.epochs.get(row.number, ())
            _write(folder / f"trial-{row.number:05}" / FILE, list(_trial(review.study.name, row, row.started, epochs, objective)))
    return folder


def _searched(dimension: Dimension) -> HParamInfo:
    bounds = values(dimension.parameter)
    if isinstance(dimension.parameter, Choice):
        choices = ListValue(values=[_value(choice) for choice in bounds])
        return HParamInfo(name=dimension.name, type=_type(bounds[0]), domain_discrete=choices)
    low, high = map(float, bounds)
    return HParamInfo(name=dimension.name, type=DATA_TYPE_FLOAT64, domain_interval=Interval(min_value=low, max_value=high))


def _type(value: trial.Value) -> Any:
    return DATA_TYPE_BOOL if isinstance(value, bool) else DATA_TYPE_STRING if isinstance(value, str) else DATA_TYPE_FLOAT64


def _value(value: trial.Value) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


def _trial(study: str, row: Row, begun: float, epochs: Sequence[Epoch], objective: str) -> Iterator[Event]:
    """What is recorded of a trial that has begun, at the times at which it came about."""
    chosen = {name: _value(value) for name, value in (row.params or {}).items()}
    start = SessionStartInfo(hparams=chosen, group_name=f"{study} {row.number}", start_time_secs=begun)
    yield _event(begun, 0, _about(metadata.SESSION_START_INFO_TAG, session_start_info=start))
    for epoch, spent in zip(epochs, accumulate(epoch.seconds for epoch in epochs), strict=True):
        yield _event(begun + spent, epoch.epoch, _scalars(epoch.metrics))
    if row.ended is None:
        return
    if row.value is not None:
        yield _event(row.ended, row.epoch, _scalars({objective: row.value}))
    status = STATUS_FAILURE if row.state is State.FAILED else STATUS_SUCCESS
    end = SessionEndInfo(status=status, end_time_secs=row.ended)
    yield _event(row.ended, row.epoch, _about(metadata.SESSION_END_INFO_TAG, session_end_info=end))


def _about(tag: str, **content: Any) -> Summary:
    """What the HParams tab reads: it stands in what describes a value, which itself is empty."""
    described = metadata.create_summary_metadata(HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])


def _scalars(metrics: Mapping[str, float]) -> Summary:
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()])


def _event(at: float, step: int, summary: Summary) -> Event:
    return Event(wall_time=at, step=step, summary=summary)


def _write(path: Path, events: Sequence[Event]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        records = RecordWriter(file)
        for event in (Event(wall_time=events[0].wall_time, file_version="brain.Event:2"), *events):
            records.write(event.SerializeToString())
