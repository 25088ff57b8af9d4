"""What can be wrong with what a user gave."""


class InputError(ValueError):
    """A mistake in a config, a file or a command, worded for the person who made it."""


class UnfinishedError(InputError):
    """Something outside stopped the work; the same command continues it."""


class DivergenceError(InputError):
    """The training's numbers are not finite any more.

    Args:
        message: what to say.
        model: with the last good weights, a `keras.Model`.
    """

    def __init__(self, message: str, model: object = None) -> None:
        super().__init__(message)
        self.model = model


class PrunedError(InputError):
    """A search has ended a run early, which does worse than others did."""


class BadItemError(ValueError):
    """Why one image of many is not used, in a few words."""
