"""A network and processes of its own for a command that listens on every address it finds, as Ray.

Told to use 127.0.0.1, Ray still takes the machine's own address for its nodes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a token of the tests"}
_ALONE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def unavailable() -> str | None:
    """Why there is no such network, or no Ray, here; None where there are."""
    if find_spec("ray") is None:
        return "Ray is not installed: pip install 'convforge[cluster]'"
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("ip"):
        return "Ray is tested in a network of its own, which needs Linux, unshare and ip"
    done = subprocess.run([*_alone(), "true"], capture_output=True, text=True)
    return f"no network of its own: {done.stderr.strip()}" if done.returncode else None


def _alone() -> list[str]:
    # Who is not root may have a network of his own as the root of a user namespace.
    return _ALONE if os.geteuid() == 0 else [*_ALONE, "--map-root-user"]


def run_alone(
    command: Sequence[str], folder: Path, *, timeout: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `command` in `folder`; whatever it starts ends with it."""
    # Ray's sockets lie there, and the name of a socket has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as own:
        return subprocess.run(
            [*_alone(), "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command],
            cwd=folder,
            # Ray makes its token at home.
            env={**os.environ, "HOME": own, "RAY_TMPDIR": own, **_TOKEN, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
