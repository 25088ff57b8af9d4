"""Credentials that journals of before hold: once addresses were written down as they were given."""

from __future__ import annotations

import json
import os

from convforge.pipeline.credentials import separate
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.run_folder import RunFolder
from convforge.pipeline.tracking.journal import Journal


def take_from_journal(journal: Journal) -> None:
    """Have no credentials in `journal`, nor in the config beside it, which is uploaded.

    They go to the environment, for the delivery, unless there are others: those are newer. Must not
    be called while another process writes the journal. Its lines keep their numbers.
    """
    first = journal.first
    given = first.content.get("uri") if first else None
    separated = separate(given or "")
    if not given or separated.uri == given:
        return
    if not separated.variables.keys() & os.environ.keys():
        os.environ.update({name: value for name, value in separated.variables.items() if name})
    inside = (json.dumps(given)[1:-1], json.dumps(separated.uri)[1:-1])
    write_text(journal.path, journal.path.read_text(encoding="utf-8").replace(*inside))
    config = RunFolder(journal.folder).config
    if config.is_file():
        text = config.read_text(encoding="utf-8")
        write_text(config, text.replace(given, separated.uri))
