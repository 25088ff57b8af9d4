"""A clone of the working tree in which DVC really runs, with one-step training or the whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dvc.repo import Repo

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = ["compose", "preprocess", "train", "evaluate"]


@dataclass(frozen=True)
class Clone:
    """A repository of its own, with the committed and the changed files of this one."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone with this environment's programs."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )
        if check and result.returncode:
            raise AssertionError(f"{command} failed:\n{result.stdout}\n{result.stderr}")
        return result

    def repro(self) -> list[str]:
        """`dvc repro`; the stages that ran."""
        return stages_run(self.run("dvc", "repro").stdout)

    def changed(self) -> list[str]:
        """The stages whose own dependencies have changed, as `dvc status` says."""
        repository = Repo(str(self.folder))
        try:
            # By names that begin with the way to the clone.
            names = {name.rpartition(":")[2] for name in repository.status()}
        finally:
            repository.close()
        return [stage for stage in STAGES if stage in names]

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace `old`, which must be there, by `new`."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def stages_run(said: str) -> list[str]:
    """The stages that DVC says it runs."""
    return re.findall(r"^Running stage '(\w+)'", said, re.M)


def make_clone(folder: Path, *, one_step: bool = True) -> Clone:
    """Copy what git tracks or would track, as it is now, and commit it in `folder`.

    Args:
        folder: where it is made; HOME is a folder of its own beside it.
        one_step: training takes one step, which is enough to see what runs and what is written, and
            `dvc.lock` is left out. False leaves everything as it is.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = REPOSITORY / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    programs = Path(sys.executable).parent
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("DVC", "MLFLOW"))
    }
    environment = {
        **kept,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "GIT_AUTHOR_NAME": "test",
        "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test",
        "GIT_COMMITTER_EMAIL": "test@example.org",
    }
    clone = Clone(folder, environment)
    clone.run("git", "init", "-q", "-b", "main")
    if one_step:
        clone.edit("conf/trainer/default.yaml", "epochs: 24", "epochs: 1")
        clone.edit("conf/trainer/default.yaml", "limit_steps: null", "limit_steps: 1")
        (folder / "dvc.lock").unlink(missing_ok=True)
    clone.commit("start")
    return clone


def install(clone: Clone) -> None:
    """Let this environment stand for the one that `make` would make: nothing is installed."""
    environment = clone.folder / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        # By these `make` knows what is installed, and would install into the original.
        if not entry.name.startswith(".installed"):
            (environment / entry.name).symlink_to(entry)
    (environment / ".installed").touch()
