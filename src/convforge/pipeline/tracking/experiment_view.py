"""What MLflow's pages show of an experiment at the first look: columns, charts, a description.

The page of an experiment takes its view from a tag that the page's own "Views" menu writes, or from
the browser. Without either it shows no figure at all, and a chart of its own for every figure.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from convforge.pipeline.metrics import HEADLINES

DESCRIPTION_TAG = "mlflow.note.content"
VIEW = "convforge"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
#: The pages for trained models; without it they are those for language models.
WORKFLOW = "machine_learning"
# A line is a line on the page.
_DESCRIPTION = """\
Networks for images, trained and tested by convforge, one run each.

- **Views → convforge**: the figures that matter as columns, training beside validation in charts.
- A run's *Overview* says what it is and how to repeat it; *Artifacts* have its pictures.
- *Models*: every trained network with its figures on the test split.
"""
# The pages' own names for columns that are neither a metric nor a param.
_NAME, _CREATED, _DURATION = "attributes.`Run Name`", "runDateAndNestInfo", "duration"
# In pixels, so that the figures, which come first, fit beside each other on a small screen.
_WIDTHS = {
    _NAME: 210,
    _CREATED: 130,
    **{
        f"metrics.`{split}_{name}`": 100
        for name in (*HEADLINES, "loss")
        for split in ("test", "val")
    },
    **{f"metrics.`best_val_{name}`": 125 for name in HEADLINES},
    _DURATION: 75,
    "params.`trainer.epochs`": 105,
    "params.`model.name`": 110,
    "params.`data.name`": 90,
    "params.`optimizer.learning_rate`": 160,
    "attributes.`Models`": 200,
}
_MODEL_CHARTS, _SYSTEM_CHARTS = "model", "system"
# Training and validation of one figure in one chart.
_LINES = (
    ("loss", "val_loss"),
    *((name, f"val_{name}") for name in HEADLINES),
    ("learning_rate",),
    ("epoch_seconds",),
)
# A run has one value of each: a chart of it would be a point.
_POINTS = (
    *(f"test_{name}" for name in ("loss", "accuracy", "error", "mae", "rmse", "images")),
    *(f"best_val_{name}" for name in HEADLINES),
)


def experiment_tags() -> Mapping[str, str]:
    """The tags that an experiment should have, unless it has them."""
    state = zlib.compress(json.dumps(view()).encode(), 9)
    saved = {
        "name": VIEW,
        "createdAt": time.time_ns() // 1_000_000,
        "state": f"deflate;{base64.b64encode(state).decode()}",
    }
    return {
        DESCRIPTION_TAG: _DESCRIPTION,
        VIEW_TAG: json.dumps(saved),
        # What an MLflow without a switch between the two kinds of pages goes by.
        "mlflow.experimentKind": "custom_model_development",
    }


def view() -> dict[str, Any]:
    """The state of the page of an experiment, as MLflow's page keeps it.

    A column or a chart of a figure that no run has is not shown.
    """
    return {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [name for name in _WIDTHS if "`" in name and name != _NAME],
        "columnOrder": list(_WIDTHS),
        "columnWidths": _WIDTHS,
        "runsHiddenMode": "FIRST_10_RUNS",
        "hideEmptyCharts": True,
        **charts(),
    }


def charts() -> dict[str, Any]:
    """The charts among it, which are those of a run's page too."""
    return {
        "compareRunCharts": [*_line_charts(), *_no_charts()],
        "compareRunSections": [
            _section(_MODEL_CHARTS, "Model metrics"),
            _section(_SYSTEM_CHARTS, "System metrics"),
        ],
        "isAccordionReordered": False,
    }


def page(experiment: str) -> str:
    """The address of the view, below the server's."""
    return f"#/experiments/{experiment}/runs?viewStateShareKey={VIEW}&workflowType={WORKFLOW}"


def _line_charts() -> Iterator[dict[str, Any]]:
    for names in _LINES:
        yield {
            **_chart(names[0], "LINE"),
            "selectedMetricKeys": list(names),
            "lineSmoothness": 0,
            "scaleType": "linear",
            "xAxisScaleType": "linear",
            "xAxisKey": "step",
            "selectedXAxisMetricKey": "",
            "yAxisKey": "metric",
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
        }


def _no_charts() -> Iterator[dict[str, Any]]:
    """Charts that a person has deleted, as it were: of what has none the page makes one."""
    for name in (*(second for _, *rest in _LINES for second in rest), *_POINTS):
        yield {**_chart(name, "BAR"), "deleted": True}


def _chart(name: str, kind: str) -> dict[str, Any]:
    return {
        "uuid": f"{VIEW}-{name}",
        "type": kind,
        "metricKey": name,
        "metricSectionId": _MODEL_CHARTS,
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": False,
    }


def _section(uuid: str, name: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": uuid == _MODEL_CHARTS,
        "isReordered": False,
        "deleted": False,
        "isGenerated": True,
    }
