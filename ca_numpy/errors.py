"""Errors meant for the person at the keyboard."""

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: one line that says what was wrong, where, and what to do about it.

    A `ValueError`, so that library users can catch it as they would NumPy's; the command line prints it
    without a traceback and exits with status 2. What no terminal shows as it is, such as escape codes and characters
    that reorder text, is escaped: messages quote files.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """A text for the terminal: on one line, with control and formatting characters escaped as in Python."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return repr(character)[1:-1]


def quoted(value: object) -> str:
    """A value from a file for a message: `repr`, shortened and on one line; only the type of containers."""
    if isinstance(value, str):
        return repr(value if len(value) <= 80 else f"{value[:79]}…")
    return repr(value)[:80] if value is None or isinstance(value, (bool, int, float)) else f"a {type(value).__name__}"


def reason(error: Exception) -> str:
    """An exception's text for a message: on one line, shortened, without control characters."""
    text = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def listed(names: Iterable[str]) -> str:
    """The first three names, and the number of others, for a message."""
    names = sorted(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(map(quoted, names[:3])) or "none") + more
