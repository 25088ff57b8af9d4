"""Affine maps of pixel coordinates, one per image, as six (batch,) tensors or plain numbers.

    x_in = a·x + b·y + c
    y_in = d·x + e·y + f

Coordinates count pixel centres: (0, 0) is the centre of the top left pixel, x runs right, y down.
Only additions and multiplications occur, and no matrix product: accelerators round those to fewer
bits, and a thousandth of a pixel is too much for an exact identity.
"""

from typing import Any, NamedTuple

Number = Any  # a float or a (batch,) tensor


class Affine(NamedTuple):
    """The matrix [[a, b, c], [d, e, f], [0, 0, 1]]."""

    a: Number
    b: Number
    c: Number
    d: Number
    e: Number
    f: Number

    def then(self, after: "Affine") -> "Affine":
        """The map that does this one first and `after` second: the matrix after·self."""
        return Affine(
            after.a * self.a + after.b * self.d,
            after.a * self.b + after.b * self.e,
            after.a * self.c + after.b * self.f + after.c,
            after.d * self.a + after.e * self.d,
            after.d * self.b + after.e * self.e,
            after.d * self.c + after.e * self.f + after.f,
        )


def translation(x: Number, y: Number) -> Affine:
    """(x, y) ← (x + x₀, y + y₀)."""
    return Affine(1.0, 0.0, x, 0.0, 1.0, y)


def scaling(x: Number, y: Number) -> Affine:
    """(x, y) ← (s·x, t·y)."""
    return Affine(x, 0.0, 0.0, 0.0, y, 0.0)


def shear(tangent: Number) -> Affine:
    """(x, y) ← (x + tan φ · y, y)."""
    return Affine(1.0, tangent, 0.0, 0.0, 1.0, 0.0)


def rotation(cosine: Number, sine: Number) -> Affine:
    """(x, y) ← (cos θ · x − sin θ · y, sin θ · x + cos θ · y): clockwise, since y runs down."""
    return Affine(cosine, -sine, 0.0, sine, cosine, 0.0)


def stack(affine: Affine, like: Any, ops: Any) -> Any:
    """The (batch, 3, 3) tensor of an `Affine`; `like` is any float32 tensor (batch,)."""
    zero = like * 0.0
    rows = [value + zero for value in (*affine, 0.0, 0.0, 1.0)]
    return ops.reshape(ops.stack(rows, axis=-1), (-1, 3, 3))
