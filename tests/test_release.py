"""The version is one, wherever it stands, and what else a release says of itself is true."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import convforge

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_there_is_one_version() -> None:
    newest = re.search(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    versions = {convforge.__version__, PROJECT["version"], CITATION["version"], newest[1]}
    assert len(versions) == 1


def test_the_citation_is_of_this_project() -> None:
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["authors"] == PROJECT["authors"]
    assert CITATION["keywords"] == PROJECT["keywords"]
    assert CITATION["cff-version"] == "1.2.0"


def test_the_container_has_a_python_that_the_project_allows() -> None:
    text = (ROOT / ".devcontainer" / "Dockerfile").read_text(encoding="utf-8")
    version = re.search(r"^FROM python:3\.(\d+)-slim$", text, re.M)
    lowest, bound = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert version is not None
    assert int(lowest) <= int(version[1]) < int(bound)
