"""The command `convforge`: the pipeline's, where its packages are installed.

The library alone has no commands, and says what to install.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from convforge import __version__

_INSTALL = "pip install 'convforge[pipeline]'"
# What the extra `pipeline` brings, by the names under which it is imported.
_PIPELINE = {
    *("PIL", "dvc", "filelock", "google", "google_crc32c", "hydra", "matplotlib", "mlflow"),
    *("omegaconf", "pydantic", "rich", "tensorflow", "yaml"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; where the pipeline's packages are missing, say how to get them.

    Returns:
        The exit status.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        from convforge.pipeline.cli import main as pipeline_main

        return pipeline_main(argv)
    except ModuleNotFoundError as error:
        missing = str(error.name).split(".")[0]
        if missing not in _PIPELINE:
            raise  # A bug keeps its traceback.
        return _without_pipeline(arguments, missing)


def _without_pipeline(arguments: Sequence[str], missing: str) -> int:
    if "--version" in arguments:
        print(f"convforge {__version__}")
        return 0
    if not arguments or not {"--help", "-h"}.isdisjoint(arguments):
        print(f"The library is installed. The commands come with the pipeline: {_INSTALL}")
        return 0
    print(
        f"error: convforge {arguments[0]} needs {missing}, which is not installed: {_INSTALL}",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
