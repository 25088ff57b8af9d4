"""`docs/ten-minutes.md` is true: its commands, in its order, print what it shows."""

from __future__ import annotations

import doctest
import re
import socket
import sys
import time
import urllib.request
from pathlib import Path

import console_page
import pytest
from bash_session import BashSession
from clone import REPOSITORY, install, make_clone
from console_page import Command, Edit, is_as_shown, steps_of
from mlflow_server import free_port
from page_edits import replace_once

PAGE = (REPOSITORY / "docs" / "ten-minutes.md").read_text(encoding="utf-8")
STEPS = steps_of(PAGE)
# What runs until it is ended, by its port on the page, and where it answers.
SERVERS = {5000: ("make ui", "convforge/1"), 5001: ("mlflow models serve", "ping")}


@pytest.mark.slow
def test_a_reader_sees_what_the_page_shows(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "convforge", one_step=False)
    install(clone)
    environment = {**clone.environment, "PYTHONPATH": str(clone.folder / "src")}
    ports = {port: port if _is_free(port) else free_port() for port in SERVERS}
    (tmp_path / "log").mkdir()
    wrong = []
    with BashSession(clone.folder, environment, tmp_path / "log") as bash:
        for step in steps_of(_with_ports(PAGE, ports)):
            if isinstance(step, Edit):
                replace_once(clone.folder / step.file, step.old, step.new)
                continue
            printed = _follow(bash, step, ports)
            print(f"$ {step.words}\n{printed}", flush=True)
            if not is_as_shown(step.shown, printed):
                wrong.append(f"$ {step.words}\nis shown with\n{step.shown}\nand printed\n{printed}")
    assert not wrong, "\n".join(wrong)


def _with_ports(page: str, ports: dict[int, int]) -> str:
    """The page with other ports where its own are taken; `make ui` has no other."""
    if ports[5000] != 5000:
        page = page.replace("$ make ui\n", "$ .venv/bin/convforge ui --port 5000\n")
    for own, port in ports.items():
        page = re.sub(rf"\b{own}\b", str(port), page)
    return page


def _follow(bash: BashSession, step: Command, ports: dict[int, int]) -> str:
    """What the command printed; it has to end well, but where the page shows an error."""
    for own, (server, place) in SERVERS.items():
        if step.words.startswith((server, f".venv/bin/convforge ui --port {ports[own]}")):
            return _start(bash, step, f"http://127.0.0.1:{ports[own]}/{place}")
    status, printed = bash.run(step.words)
    assert bool(status) == step.shown.startswith("error: "), f"{step.words}: {status}\n{printed}"
    return printed


def _start(bash: BashSession, step: Command, address: str) -> str:
    """What a server printed until it answered."""

    def is_ready(printed: str) -> bool:
        return is_as_shown(step.shown, printed) and _answers(address)

    return bash.start(step.words, is_ready)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_the_page_shows_what_every_command_prints() -> None:
    """But one, which prints nothing; a command that showed `…` alone would pass whatever came."""
    commands = [step for step in STEPS if isinstance(step, Command)]
    silent = [step.words for step in commands if not step.shown.replace("…", "").strip()]
    assert silent == ["source .venv/bin/activate"]
    words = "\n".join(step.words for step in commands)
    for part in ("make repro", "make ui", "train -m", "predict", "serve", "curl"):
        assert part in words


@pytest.mark.parametrize("step", [s for s in STEPS if isinstance(s, Edit)], ids=lambda s: s.file)
def test_an_edit_of_the_page_fits_its_file(step: Edit) -> None:
    assert step.old != step.new
    assert (REPOSITORY / step.file).read_text(encoding="utf-8").count(step.old) == 1


def test_other_output_than_shown_is_noticed() -> None:
    shown = "…\nmaxout_cnn on mnist5k: test accuracy 98.…%, loss 0.0…, 1,000 images\n…\nnext: …\n"
    printed = """
Running stage 'train':
maxout_cnn on mnist5k: test accuracy 98.60%, loss 0.0430,  1,000 images
  run  3c277899 in sqlite:////somewhere/mlflow.db
next: make ui
"""
    assert is_as_shown(shown, printed)
    for old, new in (
        ("98.60", "97.60"),
        ("98.60", "98."),
        ("1,000", "100"),
        ("next: make ui\n", ""),
        ("next: make ui\n", "next: make ui\nerror: no\n"),
    ):
        assert not is_as_shown(shown, printed.replace(old, new)), new


def test_a_session_is_one_bash_which_ends_with_what_it_started(tmp_path: Path) -> None:
    port = free_port()
    with BashSession(tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path) as bash:
        assert bash.run("word=kept; cd /; read line") == (1, "")
        assert bash.run("echo $word \\\n  $PWD; false") == (1, "kept /\n")
        assert bash.run("ls -d /nowhere")[0] == 2
        code = (
            f"import socket; s = socket.create_server(('127.0.0.1', {port})); "
            "print('listens', flush=True); s.accept()"
        )
        printed = bash.start(f'{sys.executable} -c "{code}"', lambda said: "listens" in said)
        assert printed == "listens\n"
        assert not _is_free(port)
    end = time.monotonic() + 10
    while not _is_free(port):
        assert time.monotonic() < end, "what the session started still listens"


def test_the_examples_of_reading_a_page_hold() -> None:
    assert doctest.testmod(console_page) == (0, 3)
