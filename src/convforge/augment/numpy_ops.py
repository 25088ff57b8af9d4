"""NumPy under the names that `draw` and `apply` use: replays an augmentation without a backend.

NumPy has all of them under Keras' names but `cast`.
"""

from typing import Any

import numpy as np


def cast(x: Any, dtype: str) -> np.ndarray:
    """The array of another type; integers wrap around."""
    return np.asarray(x).astype(dtype)


def __getattr__(name: str) -> Any:
    return getattr(np, name)
