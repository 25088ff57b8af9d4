"""What the settings of the methods share: types of values, and their checks. No Keras."""

from typing import Any

from convforge.geometry import ArgumentError

Range = tuple[float, float]
Size = tuple[int, int]
Tensor = Any
Parameters = dict[str, Tensor]


def check(argument: str, value: object, valid: bool, allowed: str) -> None:
    """Refuse a value that is not `valid`.

    Raises:
        ArgumentError: it names the argument, the value and what is allowed.
    """
    if not valid:
        raise ArgumentError(argument, value, allowed)


def check_probability(value: float) -> None:
    """Refuse what is no share of the images.

    Raises:
        ArgumentError: not between 0 and 1.
    """
    check("probability", value, 0.0 <= value <= 1.0, "a number from 0 to 1")
