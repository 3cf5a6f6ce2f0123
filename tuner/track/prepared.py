"""A view of a study's trials that is ready in MLflow's menu "Views": columns, order and charts.

MLflow's page keeps a saved view in a tag of the experiment: a name, and as `deflate;` and base64 the state of its runs page. The
state is read from MLflow 3.17's page (`ExperimentPageUIState` and the chart cards); what another version does not know it leaves.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from tuner.owners import is_owned
from tuner.space import Space
from tuner.spec import Choice, Fixed, Parameter, StudySpec

KEY = "mlflow.sharedViewState.tuner"
NAME = "Trials"
OBJECTIVE = "objective"  # the metric of a trial's run that holds its value
SECTION = "search"
AXES = 12  # parameters in the parallel coordinates
SCATTERED = 4  # numeric parameters that are each set against the objective; the first two share a contour


def view(spec: StudySpec, at: int) -> dict[str, str]:
    """The experiment's tag with the view, made `at` milliseconds since 1970."""
    packed = b64encode(zlib.compress(json.dumps(_state(spec)).encode(), 9)).decode()
    return {KEY: json.dumps({"name": NAME, "createdAt": at, "updatedAt": at, "state": f"deflate;{packed}"})}


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
    numeric = [name for name, parameter in common.items() if _is_numeric(parameter)]
    objective = {"key": OBJECTIVE, "type": "METRIC"}
    yield {
        "type": "PARALLEL", "selectedParams": list(common)[:AXES], "selectedMetrics": [OBJECTIVE], "showAllRuns": False,
        "displayName": "Parameters and objective",
    }  # fmt: skip
    yield {"type": "LINE", "metricKey": spec.objective.metric, "selectedMetricKeys": [spec.objective.metric]}
    for name in numeric[:SCATTERED]:
        yield {"type": "SCATTER", "xaxis": {"key": name, "type": "PARAM"}, "yaxis": objective, "runsCountToCompare": 100}
    if len(numeric) > 1:
        x, y = ({"key": name, "type": "PARAM"} for name in numeric[:2])
        yield {"type": "CONTOUR", "xaxis": x, "yaxis": y, "zaxis": objective}
    yield {
        "type": "DIFFERENCE", "compareGroups": ["Parameters"], "chartName": "Differences", "showDifferencesOnly": True,
        "showChangeFromBaseline": True, "baselineColumnUuid": "",
    }  # fmt: skip


def _common(spec: StudySpec) -> Mapping[str, Parameter]:
    """The parameters that vary and that every trial has: MLflow leaves out a run that lacks a parameter of a chart."""
    free = (d for d in Space(spec).dimensions if not isinstance(d.parameter, Fixed))
    return {d.name: d.parameter for d in free if not d.parents and not is_owned(d.name)}


def _is_numeric(parameter: Parameter) -> bool:
    return not isinstance(parameter, Choice) or all(type(choice) in (int, float) for choice in parameter.choice)
