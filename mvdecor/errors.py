"""The error that bad input raises."""

LONGEST = 1000


class InputError(ValueError):
    """Bad input: says what is wrong, where (file, id or setting) and what to do. Scripts print it alone and exit with 2.

    A message of more than 1000 characters, as damaged files with endless names make, loses its middle.
    """

    def __init__(self, message: str) -> None:
        cut = f"{message[: LONGEST * 2 // 3]} … {message[-LONGEST // 3 :]}"
        super().__init__(message if len(message) <= LONGEST else cut)
