"""The exception for what a user can put right; the command line shows it without a traceback."""


class InputError(ValueError):
    """A mistake in a config, a file or a command, worded for the person who made it."""
