"""MLflow's way to a logged model, with which this file travels as `code/convforge_loader.py`.

The convforge that is installed loads it; where none is, the one in the archive beside this file.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

ARCHIVE = "convforge.zip"

if find_spec("convforge") is None:
    sys.path.append(str(Path(__file__).with_name(ARCHIVE)))

from convforge.serving import _load_pyfunc  # noqa: E402

__all__ = ["_load_pyfunc"]
