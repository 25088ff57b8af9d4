"""The shared clone of the pipeline's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clone import STAGES, Clone, make_clone


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose pipeline has run once; tests share it, one after the other."""
    clone = make_clone(tmp_path_factory.mktemp("repository") / "convforge")
    clone.run("dvc", "pull", "data.dvc")
    assert clone.repro() == STAGES
    clone.commit("first run")
    return clone


@pytest.fixture
def pristine(clone: Clone) -> Iterator[None]:
    """Puts the shared clone back to its first run, before and after the test."""

    def restore() -> None:
        clone.run("git", "reset", "-q", "--hard")
        clone.run("dvc", "checkout", "-q")

    restore()
    yield
    restore()


@pytest.fixture
def edited(clone: Clone) -> Iterator[None]:
    """Takes a test's edits back; for tests that run no stage but compose."""
    yield
    clone.run("git", "reset", "-q", "--hard")
