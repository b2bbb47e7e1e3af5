"""The one exception for what a user can get wrong."""


def one_line(text: str) -> str:
    """`text` with line breaks and control characters as escapes: no file or class name can forge a line of its own."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class UserError(Exception):
    """A fault in data, settings or files; its text is one line that names the culprit and the remedy.

    Several lines are a title and the faults below it.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n  ".join(map(one_line, lines)))
