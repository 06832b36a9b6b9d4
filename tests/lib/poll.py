"""Wait for a state instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(fn: Callable[[], Value], *, within: float, what: str = "", every: float = 0.1) -> Value:
    """Call `fn` until it returns something true, and return that.

    Asks each `every` seconds. Raises TimeoutError after `within` seconds, naming `what` and the last answer:
    an AssertionError inside `fn` counts as "not yet", every other exception ends the wait at once.
    """
    end = time.monotonic() + within
    while True:
        last: object
        try:
            value = fn()
            if value:
                return value
            last = value
        except AssertionError as problem:
            last = problem
        if time.monotonic() >= end:
            raise TimeoutError(f"not within {within:g} s: {what or fn.__name__} (last answer: {last!r})")
        time.sleep(every)
