"""Windows over maps as Hypothesis draws them: any kernel that fits into its padded map."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

side = st.integers(0, 2)


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    """Odd and even kernels, maps down to 1×1, batches down to 1, all that `Conv2D` takes."""
    groups = draw(st.sampled_from([1, 1, 2]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    sides = draw(st.tuples(st.tuples(side, side), st.tuples(side, side)))
    return {
        "batch": draw(st.integers(1, 2)),
        "size": tuple(
            max(draw(st.integers(1, 7)), k - sum(pads))
            for k, pads in zip(kernel, sides, strict=True)
        ),
        "channels": groups * draw(st.integers(1, 2)),
        "filters": groups * draw(st.integers(1, 2)),
        "kernel": kernel,
        "strides": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "sides": sides,
        "groups": groups,
        "mode": draw(st.sampled_from(["cross_correlation", "convolution"])),
    }
