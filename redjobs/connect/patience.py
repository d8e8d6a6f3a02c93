"""How long one call goes on trying, for those who enqueue. Workers send everything once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import EqualJitterBackoff
from redis.retry import Retry

from redjobs.connect.asking import chain, is_refusal
from redjobs.connect.cluster import NotServed
from redjobs.errors import ServerUnavailable

RETRIES = 8
"""Their pauses grow from 10 ms to 1 s, and take 1.6 to 3.3 seconds together."""
FAILOVER_RETRIES = 40
"""Where another server may take over, which takes its time: the patience ends it before."""
PATIENCE_S = 10.0
"""No attempt begins later than this after the first."""

T = TypeVar("T")


# Read-only is what a former primary says after a failover: the name leads to the new one.
LOST = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError)
# Versions before 6 try a connection again only for errors of the operating system.
_RETRIED: Any = (*LOST, OSError)


def _hopeless(error: Exception) -> bool:
    """Errors that another attempt would only repeat."""
    return is_refusal(error) or any(isinstance(each, ServerUnavailable) for each in chain(error))


class Patience:
    """How long one call may go on trying, and that a retry within a retry is none.

    redis-py reconnects with retries inside each retry of a command, which multiplies them.
    A connection, and so its copy of this object, is used by one caller at a time.
    """

    trying = False

    def __init__(self, *, failover: bool = False) -> None:
        self.backoff = EqualJitterBackoff(cap=1.0, base=0.01)
        self._failover = failover
        #: Whether one of the attempts of this call may have been run.
        self._unknown = False

    def pause_s(self, error: Exception, failures: int, started: float) -> float:
        """How long to wait before the next attempt; raises the error when there is none."""
        retries = FAILOVER_RETRIES if self._failover else RETRIES
        self._unknown = not isinstance(error, NotServed) or (self._unknown and failures > 1)
        if _hopeless(error) or failures > retries or time.monotonic() - started > PATIENCE_S:
            if isinstance(error, NotServed) and not self._unknown:
                raise ServerUnavailable(
                    f"{error}: nothing was done, and nobody need look whether it was"
                ) from error
            raise error
        return self.backoff.compute(failures)


class PatientRetry(Retry):
    """`failover`: another server may take over, and is waited for."""

    def __init__(self, failover: bool = False) -> None:
        super().__init__(EqualJitterBackoff(), RETRIES, _RETRIED)
        self._patience = Patience(failover=failover)

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        if self._patience.trying:
            return do()
        started, failures = time.monotonic(), 0
        self._patience.trying = True
        try:
            while True:
                try:
                    return do()
                except self._supported_errors as error:
                    if is_retryable and not is_retryable(error):
                        raise
                    failures += 1
                    fail(*((error, failures) if with_failure_count else (error,)))
                    time.sleep(self._patience.pause_s(error, failures, started))
        finally:
            self._patience.trying = False


class PatientAsyncRetry(AsyncRetry):
    """`failover`: another server may take over, and is waited for."""

    def __init__(self, failover: bool = False) -> None:
        super().__init__(EqualJitterBackoff(), RETRIES, _RETRIED)
        self._patience = Patience(failover=failover)

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        if self._patience.trying:
            return await do()
        started, failures = time.monotonic(), 0
        self._patience.trying = True
        try:
            while True:
                try:
                    return await do()
                except self._supported_errors as error:
                    if is_retryable and not is_retryable(error):
                        raise
                    failures += 1
                    await fail(*((error, failures) if with_failure_count else (error,)))
                    await asyncio.sleep(self._patience.pause_s(error, failures, started))
        finally:
            self._patience.trying = False
