"""The code and the configs that claims' figures depend on, as one file that DVC compares.

python -m convforge.pipeline.claims.code claims/code.json

The many stages of claims/dvc.yaml name this file instead of all these files: DVC reads every
dvc.yaml of a repository for each of its commands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from convforge.pipeline.filesystem import checksum
from convforge.pipeline.filesystem.atomic_file import write_text
from convforge.pipeline.progress import Progress
from convforge.pipeline.project import project_root
from convforge.pipeline.stages.entry import add_verbosity, run_stage
from convforge.pipeline.training.resume.code_fingerprint import file_checksums, source_checksums

# Besides what trains: what makes the shards, tests, and counts errors.
_PARTS = (
    *("pipeline/data/preparation", "pipeline/data/reading/samples.py", "serving/predictor.py"),
    *("pipeline/report/scores.py", "pipeline/stages/evaluate.py"),
    *("pipeline/claims/figures.py", "pipeline/claims/jobs.py"),
    *("pipeline/claims/subset.py", "pipeline/claims/training_error.py"),
)

#: Of conf/, what the claims share: the defaults, and what their arms choose. A comment is nothing.
CONFIGS = (
    "config",
    "augment/none",
    *("data/mnist5k", "data/table", "data/cifar10"),
    *("experiment/layers_80sec", "experiment/layers_19pct", "experiment/layers_18pct"),
    *("experiment/conv_local_13pct", "experiment/none"),
    "loss/cross_entropy",
    *("model/lecture_cnn", "model/normalized_cnn", "model/layers_80sec", "model/layers_19pct"),
    *("model/layers_18pct", "model/conv_local_13pct"),
    *("optimizer/momentum_sgd", "optimizer/keras_sgd"),
    *("schedule/constant", "schedule/cosine", "schedule/step"),
    "task/classification",
    "trainer/default",
)


def config_checksums(root: Path) -> dict[str, str]:
    """The checksum of what each config says, by its name in the project's folder `root`."""
    return {
        f"conf/{name}": checksum.of_json(
            OmegaConf.to_container(OmegaConf.load(root / "conf" / f"{name}.yaml"))
        )[:16]
        for name in CONFIGS
    }


def code_checksums() -> dict[str, str]:
    """The checksum of each file that a claim's figures depend on, by its name in the package.

    The verdict's rule is not among them: it is applied anew to the runs that a result holds.
    """
    return dict(sorted({**source_checksums(), **file_checksums(_PARTS)}.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the checksums of a claim's code.")
    parser.add_argument("out", type=Path, help="the file to write")
    add_verbosity(parser)

    def write(given: argparse.Namespace, progress: Progress) -> None:
        found = {**config_checksums(project_root()), **code_checksums()}
        write_text(given.out, json.dumps(found, indent=1) + "\n")
        progress.say(f"{given.out}: {len(found)} files")

    return run_stage(parser, argv, write)


if __name__ == "__main__":
    sys.exit(main())
