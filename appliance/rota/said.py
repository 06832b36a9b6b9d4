"""The one exception of the `rota` command: its text is the one line that a person reads before exit 1."""


class Said(Exception):
    """Something went otherwise than asked; the text says what, in one line, and what to do about it."""
