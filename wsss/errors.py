"""The one exception for what a user can get wrong."""


class UserError(Exception):
    """A fault in data, settings or files; its text is one line that names the culprit and the remedy."""
