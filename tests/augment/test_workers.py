"""The work divided among processes, as loaders and clusters divide it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from part import part


@pytest.mark.slow
def test_two_processes_that_share_the_examples_augment_them_as_one_does(
    digits: Path, tmp_path: Path
) -> None:
    """Neither the number of workers nor the batch in which an example comes enters its draw."""
    script = Path(__file__).with_name("part.py")
    out = [tmp_path / f"{worker}.npz" for worker in range(2)]
    workers = [
        subprocess.Popen(
            [sys.executable, script, digits, path, str(worker), "2"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for worker, path in enumerate(out)
    ]
    try:
        whole = part(digits, 0, 1, batch=40)
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    parts = [dict(np.load(path)) for path in out]
    assert len(whole["index"]) == 250
    assert [len(one["index"]) for one in parts] == [
        (whole["index"] % 2 == worker).sum() for worker in range(2)
    ]
    for worker, one in enumerate(parts):
        mine = whole["index"] % 2 == worker
        for name, values in one.items():
            np.testing.assert_array_equal(values, whole[name][mine], err_msg=name)
    assert whole["matrix"].std(axis=0)[0, 0] > 0.1, "the draws differ from image to image"
