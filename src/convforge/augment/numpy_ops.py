"""NumPy under the names that `draw` and `apply` use: replays an augmentation without a backend.

NumPy has all of them under Keras' names but `cast`, and before 2.1 but the shifts.
"""

from typing import Any

import numpy as np

bitwise_left_shift = np.left_shift
bitwise_right_shift = np.right_shift


def cast(x: Any, dtype: str) -> np.ndarray:
    """The array of another type; integers wrap around."""
    return np.asarray(x).astype(dtype)


def __getattr__(name: str) -> Any:
    return getattr(np, name)
