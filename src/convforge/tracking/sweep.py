"""The parent run of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convforge.settings import MLflowTracking
from convforge.tracking.delivery import experiment_id, open_client
from convforge.tracking.provenance import provenance_tags
from convforge.tracking.store import tracking_uri

# What says which job did best: of classes and signs, else of predicted numbers.
_BEST_METRICS = (("val_accuracy", "DESC"), ("val_mae", "ASC"))


@contextmanager
def sweep_parent(
    settings: MLflowTracking, root: Path, overrides: Sequence[str], jobs: int
) -> Iterator[str]:
    """An MLflow run that the jobs' runs name as their parent; ended whatever becomes of them.

    Its name is the sweep's overrides; its `best_val_accuracy`, or `best_val_mae` of a regression,
    and the tag `best_run` say which job did best on the validation images.
    """
    uri = tracking_uri(settings, root)
    client = open_client(uri)
    experiment = experiment_id(client, settings.experiment, uri)
    name = settings.run_name or "sweep " + " ".join(overrides)
    tags = {
        **provenance_tags(root),
        "convforge.sweep": " ".join(overrides),
        "convforge.jobs": str(jobs),
    }
    parent = client.create_run(experiment, tags=tags, run_name=name[:250]).info.run_id
    status = "FAILED"
    try:
        yield parent
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        _log_best(client, experiment, parent)
        client.set_terminated(parent, status)


def _log_best(client: Any, experiment: str, parent: str) -> None:
    for metric, order in _BEST_METRICS:
        children = client.search_runs(
            [experiment],
            filter_string=f"tags.`mlflow.parentRunId` = '{parent}' AND status = 'FINISHED'",
            order_by=[f"metrics.{metric} {order}"],
            max_results=1,
        )
        if children and metric in children[0].data.metrics:
            client.log_metric(parent, f"best_{metric}", children[0].data.metrics[metric])
            client.set_tag(parent, "best_run", children[0].info.run_name)
            return
