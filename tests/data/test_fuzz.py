"""Thousands of damaged images and archives: no crash, no hang, no memory, nothing lost unseen."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"
ADDRESS_SPACE = 4 << 30


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def _fuzz(seed: int, images: int, archives: int, timeout: int) -> dict[str, int]:
    counts = {"--seed": seed, "--images": images, "--archives": archives}
    options = [str(part) for pair in counts.items() for part in pair]
    done = subprocess.run(
        [sys.executable, str(FUZZ), *options],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        preexec_fn=_limit_memory,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    print(f"fuzz, seed {seed}: {found}")
    assert found["decoded"] + found["refused"] == images
    assert found["items in"] == found["items out"] + found["items reported"]
    kinds = {name.removesuffix(" refused") for name in found if name.endswith(" refused")}
    for kind in kinds:
        assert found[f"{kind} refused"] + found.get(f"{kind} prepared", 0) == archives
    assert len(kinds) == 10
    assert found["peak_megabytes"] < 500
    return found


def test_damaged_images_and_archives_are_all_accounted_for() -> None:
    found = _fuzz(seed=0, images=1500, archives=12, timeout=120)
    assert found["decoded"] > 100, "some damage is harmless"
    assert found["items reported"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_tens_of_thousands_of_them_are(seed: int) -> None:
    _fuzz(seed, images=20_000, archives=400, timeout=1200)
