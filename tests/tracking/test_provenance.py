"""What a run says of the commit that it comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from convforge.pipeline.tracking.provenance import provenance_tags


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("build/history.csv", "no"),
        ("dvc.lock", "no"),
        ("conf/config.yaml", "yes"),
        ("src/new.py", "yes"),
    ],
)
def test_what_dvc_writes_is_no_change_of_the_commit(
    tmp_path: Path, file: str, changes: str
) -> None:
    def git(*arguments: str) -> None:
        person = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *person, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("build/history.csv", "dvc.lock", "conf/config.yaml", "src/old.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    git("init")
    git("add", ".")
    git("commit", "--message", "all")
    assert provenance_tags(tmp_path)["convforge.git_changes"] == "no"
    (tmp_path / file).write_text("after")
    assert provenance_tags(tmp_path)["convforge.git_changes"] == changes
