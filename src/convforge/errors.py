"""What can be wrong with what a user gave."""


class InputError(ValueError):
    """A mistake in a config, a file or a command, worded for the person who made it."""


class UnfinishedError(InputError):
    """Something outside stopped the work; the same command continues it."""


class DivergenceError(InputError):
    """The training's numbers are not finite any more."""


class BadItemError(ValueError):
    """Why one image of many is not used, in a few words."""
