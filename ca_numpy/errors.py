"""Errors meant for the person at the keyboard."""


class UserError(ValueError):
    """Bad input: one line that says what was wrong, where, and what to do about it.

    A `ValueError`, so that library users can catch it as they would NumPy's; the command line prints it
    without a traceback and exits with status 2.
    """
