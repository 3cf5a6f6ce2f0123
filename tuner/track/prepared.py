"""A view of a study's trials that is ready in MLflow's menu "Views": columns, order and charts.

MLflow's page keeps a saved view in a tag of the experiment: a name, and as `deflate;` and base64 the state of its runs page. The
state is read from MLflow 3.17's page (`ExperimentPageUIState` and the chart cards); what another version does not know it leaves.
"""

import json
import math
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from tuner.owners import is_owned
from tuner.space import Space
from tuner.spec import Choice, Fixed, FloatRange, IntRange, Parameter, StudySpec
from tuner.trial import Params

KEY = "mlflow.sharedViewState.tuner"
NAME = "Trials"
OBJECTIVE = "objective"  # the metric of a trial's run that holds its value
SECTION = "search"
AXES = 12  # parameters in the charts
SCATTERED = 4  # numeric parameters that are each set against the objective; the first two share a contour


def view(spec: StudySpec, at: int) -> dict[str, str]:
    """The experiment's tag with the view, made `at` milliseconds since 1970."""
    packed = b64encode(zlib.compress(json.dumps(_state(spec)).encode(), 9)).decode()
    return {KEY: json.dumps({"name": NAME, "createdAt": at, "updatedAt": at, "state": f"deflate;{packed}"})}


def logarithms(spec: StudySpec, params: Params) -> dict[str, float]:
    """As metrics the logarithms of what is searched by factors: MLflow's charts have no logarithmic axes for parameters."""
    wanted = (name for name, parameter in spec.search.items() if _by_factors(parameter) and not is_owned(name))
    return {_logarithm(name): math.log10(float(params[name])) for name in wanted if name in params}


def _state(spec: StudySpec) -> dict[str, Any]:
    names = list(_common(spec))
    columns = [f"metrics.`{OBJECTIVE}`", *(f"params.`{name}`" for name in names), "tags.`state`", "attributes.`Duration`"]
    return {
        "searchFilter": "attributes.run_name LIKE 'trial %'",
        "orderByKey": f"metrics.`{OBJECTIVE}`",
        "orderByAsc": not spec.objective.maximise,
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [
            {"uuid": SECTION, "name": "Search", "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
        ],
        "compareRunCharts": [
            {"uuid": f"tuner-{place}", "metricSectionId": SECTION, "deleted": False, "isGenerated": False, **chart}
            for place, chart in enumerate(_charts(spec))
        ],
    }


def _charts(spec: StudySpec) -> Iterator[dict[str, Any]]:
    common = _common(spec)
    axes = {name: _axis(name, parameter) for name, parameter in list(common.items())[:AXES]}
    numeric = [axes[name] for name in axes if _is_numeric(common[name])]
    objective = {"key": OBJECTIVE, "type": "METRIC"}
    yield {
        "type": "PARALLEL", "showAllRuns": False,
        "selectedParams": [axis["key"] for axis in axes.values() if axis["type"] == "PARAM"],
        "selectedMetrics": [*(axis["key"] for axis in axes.values() if axis["type"] == "METRIC"), OBJECTIVE],
    }  # fmt: skip
    yield {"type": "LINE", "metricKey": spec.objective.metric, "selectedMetricKeys": [spec.objective.metric]}
    for axis in numeric[:SCATTERED]:
        yield {"type": "SCATTER", "xaxis": axis, "yaxis": objective, "runsCountToCompare": 100}
    if len(numeric) > 1:
        yield {"type": "CONTOUR", "xaxis": numeric[0], "yaxis": numeric[1], "zaxis": objective}
    yield {
        "type": "DIFFERENCE", "compareGroups": ["Parameters"], "chartName": "Differences", "showDifferencesOnly": True,
        "showChangeFromBaseline": True, "baselineColumnUuid": "",
    }  # fmt: skip


def _axis(name: str, parameter: Parameter) -> dict[str, str]:
    return {"key": _logarithm(name), "type": "METRIC"} if _by_factors(parameter) else {"key": name, "type": "PARAM"}


def _logarithm(name: str) -> str:
    return f"log10 {name}"


def _by_factors(parameter: Parameter) -> bool:
    return isinstance(parameter, IntRange | FloatRange) and parameter.log


def _common(spec: StudySpec) -> Mapping[str, Parameter]:
    """The parameters that vary and that every trial has: MLflow leaves out a run that lacks a parameter of a chart."""
    free = (d for d in Space(spec).dimensions if not isinstance(d.parameter, Fixed))
    return {d.name: d.parameter for d in free if not d.parents and not is_owned(d.name)}


def _is_numeric(parameter: Parameter) -> bool:
    return not isinstance(parameter, Choice) or all(type(choice) in (int, float) for choice in parameter.choice)
