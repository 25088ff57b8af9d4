"""An edit that a page shows as a diff, and its file with the new lines in the place of the old."""

from __future__ import annotations

from pathlib import Path


def old_and_new(diff: str) -> tuple[str, str]:
    """The lines before the edit, and those after it, each with what stands around it."""
    lines = diff.splitlines()
    # An editor may have taken the one blank of an empty line away.
    assert all(line[:1] in ("", " ", "+", "-") for line in lines), f"no diff:\n{diff}"
    old, new = (
        "".join(f"{line[1:]}\n" for line in lines if line[:1] in ("", " ", sign)) for sign in "-+"
    )
    return old, new


def replace_once(path: Path, old: str, new: str) -> None:
    """Edit the file, which must have the old lines once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has not once:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")
