"""The shared clone of the pipeline's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clone import Clone, make_clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose pipeline has run once; tests of a module share it, one after the other."""
    clone = make_clone(tmp_path_factory.mktemp("repository") / "convforge")
    clone.run("dvc", "pull", "data.dvc")
    assert clone.repro() == ["compose", "preprocess", "train", "evaluate"]
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
