"""`tracking`: where a run is kept besides its folder."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from convforge.geometry import ArgumentError
from convforge.pipeline.credentials import redacted_uri, separate
from convforge.pipeline.settings.group import Group

#: What MLflow takes as the name of a registered model, and as an alias.
MODEL_NAME = r"^[^/:\s]{1,250}$"
ALIAS = r"^(?!v\d+$|latest$)[\w-]{1,250}$"

#: As MLflow takes them; with a dot they are MLflow's and the project's own.
TagName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_/ -]{1,250}$")]
TagValue: TypeAlias = Annotated[str, Field(max_length=5000)]


class RegistrySettings(Group):
    """What an evaluation does with MLflow's registry of models."""

    when: Literal["never", "better"]
    name: str | None
    alias: str
    # The paired tests' own smallest is 0.0001.
    level: Annotated[float, Field(ge=0.001, le=0.5)]

    @model_validator(mode="after")
    def _names_that_mlflow_takes(self) -> Self:
        if self.name is not None and not re.search(MODEL_NAME, self.name):
            allowed = "null, or a name without spaces, / and :"
            raise ArgumentError("name", self.name, allowed)
        if not re.search(ALIAS, self.alias):
            allowed = "letters, digits, _ and -, but not latest or v1"
            raise ArgumentError("alias", self.alias, allowed)
        return self


# What a run from before there was a choice did.
_NEVER = RegistrySettings(when="never", name=None, alias="champion", level=0.05)


class MLflowTracking(Group):
    """An MLflow store."""

    name: Literal["mlflow"]
    uri: str | None
    experiment: Annotated[str, Field(min_length=1, max_length=250)]
    run_name: Annotated[str, Field(max_length=250)] | None
    parent_run: str | None
    #: What to find the run by; not of a run from before there were any.
    tags: dict[TagName, TagValue] = Field(default_factory=dict)
    patience: Annotated[float, Field(ge=0, le=3600)]
    registry: RegistrySettings = _NEVER
    #: Not of a run from before there were any.
    system_metrics: bool = False
    system_metrics_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 3.0

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        separated = separate(self.uri or "")
        if separated.variables or separated.problem:
            names = " and ".join(sorted(filter(None, separated.variables)))
            allowed = separated.problem or (
                f"{separated.uri}, and in the environment {names}: a config is stored with the run "
                "and seen by all who see it"
            )
            raise ArgumentError("uri", redacted_uri(self.uri or ""), allowed)
        return self

    @model_validator(mode="after")
    def _known_store(self) -> Self:
        allowed = self.uri and refused_store(self.uri)
        if allowed:
            raise ArgumentError("uri", redacted_uri(self.uri or ""), allowed)
        return self


_STORES = ("postgresql", "mysql", "mssql", "databricks", "uc")


def refused_store(uri: str) -> str | None:
    """None for the address of a store that MLflow takes; for another, what it takes.

    Example:
        >>> refused_store("http://127.0.0.1:5000"), refused_store("sqlite:///runs.db")
        (None, None)
        >>> refused_store("mlruns")[:23]
        'sqlite:///FILE, http://'
    """
    scheme, colon, rest = uri.partition(":")
    name = scheme.split("+")[0].lower()
    if name in ("http", "https"):
        try:
            parts = urlsplit(uri)
            good = bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
    elif name == "sqlite":
        good = rest.startswith("///") and rest[3:] not in ("", ":memory:")
    elif name in _STORES:
        good = bool(colon) or name == "databricks"
    else:
        plugins = entry_points(group="mlflow.tracking_store")
        good = bool(colon) and name not in ("", "file") and scheme in plugins.names
    known = "sqlite:///FILE, http://HOST:PORT, https://… or a database's postgresql://…, mysql://…"
    return None if good else f"{known} (MLflow keeps runs in plain folders no more)"


class NoTracking(Group):
    """Files only."""

    name: Literal["none"]


TrackingSettings: TypeAlias = MLflowTracking | NoTracking
