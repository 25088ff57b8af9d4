"""What to say when a batch does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from convforge.errors import InputError


@contextmanager
def translate_memory_errors(batch_size: int, step: Callable[[int], object]) -> Iterator[None]:
    """Lack of memory within the block becomes an InputError that names a batch size that fits.

    Args:
        batch_size: of the run.
        step: makes one iteration with so many examples; tried with a half, a quarter and so on.

    Raises:
        InputError: there was not enough memory.
    """
    try:
        yield
    except Exception as error:
        if not is_lack_of_memory(error):
            raise
        fits = _largest_that_fits(batch_size // 2, step)
        hint = f"{fits} fits" if fits else "not even one example fits: take a smaller model"
        raise InputError(
            f"trainer.batch_size={batch_size} needs more memory than there is; {hint}"
        ) from error


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether `error` is a backend's way to say so.

    Example:
        >>> is_lack_of_memory(MemoryError()), is_lack_of_memory(ValueError("size"))
        (True, False)
    """
    # TensorFlow's, and PyTorch's on a GPU; JAX, and PyTorch on a CPU, have one class for all.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"}:
        return True
    return any(text in str(error) for text in ("RESOURCE_EXHAUSTED", "can't allocate memory"))


def _largest_that_fits(batch_size: int, step: Callable[[int], object]) -> int | None:
    while batch_size:
        try:
            step(batch_size)
        except Exception as error:
            if not is_lack_of_memory(error):
                raise
            batch_size //= 2
        else:
            return batch_size
    return None
