"""MLflow's server with one page more, from which the others are entered.

Which of its pages MLflow shows, those for trained models or those for language models, with which
columns and charts, is kept in the browser and nowhere else. That page puts it there.

`mlflow server --app-name convforge` finds this module by its entry point.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from convforge.pipeline.tracking.experiment_view import WORKFLOW, charts, page, view

#: The page, below the server's address and above an experiment's id.
ENTRY = "convforge"
# MLflow's own names for what it keeps in a browser.
_STORE = "MLflowLocalStorage-1.1"
# A browser keeps 5 MB for a server; the charts of a run's page are 3 kB of them.
_MOST_RUNS = 200


def create_app() -> Any:
    """MLflow's application, with the page."""
    from mlflow.server import app
    from mlflow.server.fastapi_app import app as served

    app.add_url_rule(f"/{ENTRY}/<experiment>", view_func=entry_page)
    return served


def entry_page(experiment: str) -> str:
    """The page that leads to `experiment`'s."""
    view_key = f'{_STORE}-ExperimentPage-["{experiment}"]-ReactComponentState'
    given = {
        "experiment": experiment,
        "page": f"/#/experiments/{experiment}/runs",
        "shared_page": f"/{page(experiment)}",
        "mark": f"convforge.entered.{experiment}",
        "view_key": view_key,
        "storage": {
            view_key: view(),
            "mlflow.workflowType_v1": WORKFLOW,
            # It opens itself at the first visit, over a quarter of the page.
            "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
        },
        "runs": _MOST_RUNS,
        "charts_key": f"{_STORE}-RunPage-RUN-model-chartUIState",
        "charts": {**charts(), "autoRefreshEnabled": True},
    }
    template = Path(__file__).with_name("ui_entry.html").read_text(encoding="utf-8")
    # No "</script>" from an address gets into the script.
    return template.replace("GIVEN", json.dumps(given).replace("<", "\\u003c"))
