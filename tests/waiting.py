"""Waiting for what another process or thread is about to do; tests themselves never sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.005


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, description: str = "") -> T:
    """The first true value of `predicate`; AssertionError with `description` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            what = description or getattr(predicate, "__name__", "the condition")
            raise AssertionError(f"waited {timeout:g} s in vain: {what} (last seen: {value!r})")
        time.sleep(_POLL_SECONDS)
    return value
