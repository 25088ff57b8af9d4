"""Pages that say how to add something: what they say is done to a copy of the source tree.

A code block belongs to the file that begins the paragraph above it, `FILE`, or else to the file of
the block before it. A diff changes the file, every other block is a new one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from page_edits import old_and_new, replace_once

ROOT = Path(__file__).resolve().parents[1]
_FILE = r"\[?`(?P<file>[\w/.]+)`(?:\]\([^)\n]*\))?[,:.]"
_BLOCK = re.compile(
    rf"^(?:{_FILE}[^\n]*\n(?:[^\n]+\n)*\n)?```(?P<kind>diff|yaml|python)\n(?P<text>.*?)^```",
    re.M | re.S,
)
#: How a command of a page is run by the code of the tree, by the words that it begins with.
_PROGRAMS = {
    "convforge": ("-m", "convforge"),
    "pytest": ("-m", "pytest", "-q", "-p", "no:cacheprovider"),
    "make schema": ("docs/config_schema.py",),
    "python": (),
}


def copied_tree(folder: Path) -> Path:
    """A copy of the source tree in `folder`, without the data and the pictures."""
    ignored = shutil.ignore_patterns("__pycache__", "*.png")
    for name in ("src", "conf", "docs", "examples", "tests", ".vscode", "claims"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "dvc.yaml"):
        shutil.copy2(ROOT / name, folder)
    return folder


def follow(page: str, tree: Path) -> set[str]:
    """Do to the files in `tree` what the page's code blocks say; the files that it names."""
    file, touched = "", set()
    for block in _BLOCK.finditer(page):
        file = block["file"] or file
        path = tree / file
        if block["kind"] == "diff":
            replace_once(path, *old_and_new(block["text"]))
        else:
            assert not path.exists(), f"{file} is no new file"
            path.parent.mkdir(exist_ok=True)
            path.write_text(block["text"], encoding="utf-8")
        touched.add(file)
    return touched


def added_configs(page: str) -> set[str]:
    """The choices, GROUP=NAME, that there are once the page was followed."""
    files = [block["file"] or "" for block in _BLOCK.finditer(page) if block["kind"] == "yaml"]
    named = [re.fullmatch(r"conf/(\w+)/(\w+)\.yaml", file) for file in files]
    return {f"{found[1]}={found[2]}" for found in named if found}


def commands(page: str) -> list[str]:
    """The commands of the page, in its order."""
    return re.findall(r"^\$ (.*?)(?: +#.*)?$", page, re.M)


def run_command(tree: Path, command: str, backend: str = "jax") -> str:
    """What a command of a page prints, run by the code of the tree."""
    (begin,) = (words for words in _PROGRAMS if f"{command} ".startswith(f"{words} "))
    words = shlex.split(command.removeprefix(begin))
    return run_python(tree, *_PROGRAMS[begin], *words, backend=backend)


def run_python(tree: Path, *arguments: str, backend: str = "jax") -> str:
    """What Python prints for these arguments in `tree`, by the code there."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src"), "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
