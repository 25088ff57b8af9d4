"""Is one model better than another on the same images, or is it chance?

Both answer for every image, so what tells them apart are the images alone where they differ. A test
of two accuracies as if they came from two sets of images would miss most real differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 9999
# Numbers that are held at once.
_AT_ONCE = 2**24


@dataclass(frozen=True)
class PairedTest:
    """What the comparison of a challenger with a champion found.

    Args:
        n10: images where the challenger alone is right, or where it is closer.
        n01: images where the champion is.
        p_value: the probability of a difference at least as large in the challenger's favour if the
            two were equally good.
        measure: what an image counts for: "right" or "closer".
    """

    n10: int
    n01: int
    p_value: float
    measure: str

    @property
    def counts(self) -> str:
        """The images that tell them apart.

        Example:
            >>> PairedTest(12, 3, 0.0176, "right").counts
            'right on 12 images where the other errs, wrong on 3 where the other is right'
        """
        if self.measure == "right":
            return (
                f"right on {self.n10} images where the other errs, wrong on {self.n01} where the "
                "other is right"
            )
        return f"closer on {self.n10} images, further on {self.n01}"


def compare_right(challenger: NDArray[np.bool_], champion: NDArray[np.bool_]) -> PairedTest:
    """McNemar's exact test, one-sided.

    Of the n₁₀ + n₀₁ images where one of the two is right, each is equally likely to be either's if
    they are equally good: p = Σₖ₌ₙ₁₀ C(n, k) / 2ⁿ with n = n₁₀ + n₀₁.

    Args:
        challenger: whether it is right, for each image.
        champion: the same.

    Example:
        >>> compare_right(np.array([1, 1, 1, 1, 0]) > 0, np.array([0, 0, 0, 1, 0]) > 0).p_value
        0.125

    References:
        McNemar 1947; Dietterich 1998, "Approximate statistical tests for comparing supervised
        classification learning algorithms".
    """
    from scipy.stats import binomtest  # Half a second, for those that compare.

    n10 = int(np.sum(challenger & ~champion))
    n01 = int(np.sum(champion & ~challenger))
    p_value = binomtest(n10, n10 + n01, alternative="greater").pvalue if n10 + n01 else 1.0
    return PairedTest(n10, n01, float(p_value), "right")


def compare_errors(challenger: NDArray[np.float64], champion: NDArray[np.float64]) -> PairedTest:
    """A paired permutation test of the mean absolute error, one-sided.

    If the two are equally good, their errors on an image could as well be the other's: the p-value
    is the share of 9,999 random exchanges, and of what was seen, whose mean difference is as much
    in the challenger's favour. It is a test of the very figure that an evaluation shows. Wilcoxon's
    signed ranks would let a model win that is a little closer on most images and far off on some.

    Args:
        challenger: its absolute error for each image.
        champion: the same.
    """
    from scipy.stats import permutation_test  # As above.

    found = permutation_test(
        (challenger, champion),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        alternative="less",
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // len(challenger)),
        rng=np.random.default_rng(0),
    )
    n10, n01 = int(np.sum(challenger < champion)), int(np.sum(champion < challenger))
    return PairedTest(n10, n01, float(found.pvalue), "closer")
