"""Problems of a model: one line each, with the element's path, in words that say what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong (or, as a warning, unwise) at `path`."""

    path: str
    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {'warning: ' if self.warning else ''}{self.text}"


def dotted(location: Iterable[int | str]) -> str:
    """`("ports", 0)` → `ports[0]`; `("members", "a")` → `members.a`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing when no known word is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {found[0]}?)" if found else ""


def _known_keys(model: type[Any], location: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where `location` (without its last part) points, by walking the model's fields."""
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            continue  # a key of a mapping, or an index: the model below it was already chosen
        inner = _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> type[Any] | None:
    if hasattr(annotation, "model_fields"):
        return annotation  # type: ignore[no-any-return]
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _model_in(part))), None)


def from_validation(error: ValidationError, model: type[Any], prefix: str) -> list[Problem]:
    """Pydantic's findings in our words, each at its full path."""
    return [
        Problem(
            dotted((prefix, *(p for p in detail["loc"] if p != "[key]")) if prefix else detail["loc"]),
            _words(detail, model),
        )
        for detail in error.errors(include_url=False)
    ]


def _words(detail: Any, model: type[Any]) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        key = str(detail["loc"][-1])
        return f"unknown key{nearest(key, _known_keys(model, detail['loc']))}"
    if kind == "enum":
        allowed = [word.strip(" '") for word in context["expected"].replace(" or ", ", ").split(",")]
        return f"{value} is not one of {', '.join(allowed)}{nearest(str(value), allowed)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "too_short":
        return "is empty: at least one is needed"
    if kind.startswith("int_"):
        return f"{value!r} is not a whole number"
    if kind.startswith("bool_"):
        return f"{value!r} is neither true nor false"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{value!r} is not a mapping of keys to values"
    if kind == "list_type":
        return f"{value!r} is not a list"
    if kind == "greater_than_equal":
        return f"{value} is below {context['ge']}, the least allowed"
    if kind == "less_than_equal":
        return f"{value} is above {context['le']}, the most allowed"
    return str(detail["msg"])
