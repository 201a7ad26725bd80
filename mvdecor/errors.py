"""The one exception that scripts turn into a one-line message and a non-zero exit."""


class InputError(ValueError):
    """Something the user gave is wrong. The message says what, where, and what to do about it."""
