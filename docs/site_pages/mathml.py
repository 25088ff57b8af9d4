"""Formulas as MathML, written when the site is built: browsers draw it without any script."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml


def mathml(formula: str, *, block: bool) -> str:
    r"""A formula in TeX's notation as an element of a page.

    Raises:
        ValueError: what docutils does not know of TeX.

    Example:
        >>> print(mathml("x^2", block=False).replace("\n", "").replace("  ", ""))
        <math xmlns="http://www.w3.org/1998/Math/MathML"><msup><mi>x</mi><mn>2</mn></msup></math>
    """
    try:
        text: str = latex2mathml.tex2mathml(formula, as_block=block)
    except Exception as error:  # its own MathError, and what it meets in a formula it cannot read
        raise ValueError(f"no MathML for {formula!r}: {error}") from error
    if block and 'display="block"' not in text:
        return text.replace("<math ", '<math display="block" ', 1)
    return text


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write a formula that stands by itself."""
    self.body.append(f'<div class="math">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode
