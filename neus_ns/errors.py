"""The one exception for what the user can mend: a sentence that says what is wrong, where, and what to do."""


class InputError(ValueError):
    """Bad input. The message is a complete sentence for the user; command lines print it without a traceback."""
