"""Reading a daemon's TOML file: one clear line for what is missing or wrong, before anything starts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


class BadConfig(Exception):
    """The configuration cannot be used; the text is one line for people."""


def read(path: Path) -> dict[str, Any]:
    """The tables of the file at `path`; raises BadConfig with one line that names the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path}: is not valid TOML: {error}") from None


def table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    """A table that has to be there."""
    if not isinstance(raw.get(key), dict):
        raise BadConfig(f"the table [{key}] is missing")
    return dict(raw[key])


def optional(raw: dict[str, Any], key: str) -> dict[str, Any]:
    """A table that may be left out."""
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise BadConfig(f"{key} is not a table")
    return value


def text(raw: dict[str, Any], key: str, where: str = "") -> str:
    """A text that is not empty."""
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise BadConfig(f"{where}{key} is {'missing' if key not in raw else 'not a text'}")
    return value


def number(raw: dict[str, Any], key: str, where: str, *, lowest: int, highest: int | None = None) -> int:
    """A whole number within its bounds."""
    value = raw.get(key)
    if key not in raw:
        raise BadConfig(f"{where}{key} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest or (highest and value > highest):
        raise BadConfig(f"{where}{key}: {value!r} is not a number from {lowest}{f' to {highest}' if highest else ''}")
    return value


def texts(raw: dict[str, Any], key: str, where: str = "") -> tuple[str, ...]:
    """A list of texts with at least one in it."""
    value = raw.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise BadConfig(f"{where}{key} is {'missing' if key not in raw else 'not a list of texts'}")
    return tuple(value)


def flag(raw: dict[str, Any], key: str, where: str = "") -> bool:
    """true or false."""
    value = raw.get(key)
    if not isinstance(value, bool):
        raise BadConfig(f"{where}{key} is {'missing' if key not in raw else 'neither true nor false'}")
    return value
