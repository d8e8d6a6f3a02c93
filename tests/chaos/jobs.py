"""The handlers of the chaos run. Each writes down when it starts and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import zlib
from collections.abc import Iterator

import redjobs
from redjobs import Retry
from tests.chaos.record import AGAIN, CORRUPT, DONE, STOPPED, Recorder

_recorder = Recorder()
#: Short, so that retries come back within the run.
_AGAIN_SECONDS = 0.1


def seal(n: int) -> int:
    """What goes with each number, so that a job notices arguments that are not its own."""
    return zlib.crc32(str(n).encode())


@contextlib.contextmanager
def _recorded(n: int, sealed: int) -> Iterator[None]:
    job = redjobs.current_job()
    assert job is not None
    number = _recorder.started(job.id, job.attempt)
    how = DONE if sealed == seal(n) else CORRUPT
    try:
        yield
    except Retry:
        how = AGAIN
        raise
    except BaseException:
        how = STOPPED
        raise
    finally:
        _recorder.ended(number, how)


@redjobs.job
def quick(n: int, sealed: int) -> None:
    """Nothing but its lines."""
    with _recorded(n, sealed):
        pass


@redjobs.job
def work(n: int, sealed: int, ms: int) -> None:
    """Keeps a thread for a while."""
    with _recorded(n, sealed):
        time.sleep(ms / 1000)


@redjobs.job
async def wait(n: int, sealed: int, ms: int) -> None:
    """Waits on the event loop for a while."""
    with _recorded(n, sealed):
        await asyncio.sleep(ms / 1000)


@redjobs.job
def flaky(n: int, sealed: int, times: int, ms: int) -> None:
    """Fails so many times before it succeeds, each time after a while."""
    job = redjobs.current_job()
    with _recorded(n, sealed):
        time.sleep(ms / 1000)
        if job is not None and job.attempt <= times:
            raise Retry("as planned", after=_AGAIN_SECONDS)


@redjobs.job
async def falter(n: int, sealed: int, ms: int) -> None:
    """Fails once, after as long as a lease: who was frozen fails when another one has the job already."""
    job = redjobs.current_job()
    with _recorded(n, sealed):
        await asyncio.sleep(ms / 1000)
        if job is not None and job.attempt == 1:
            raise Retry("as planned", after=_AGAIN_SECONDS)


@redjobs.job(result_ttl=3600)
def answer(n: int, sealed: int) -> int:
    """Has a result."""
    with _recorded(n, sealed):
        return 2 * n


@redjobs.job
def poison(n: int, sealed: int) -> None:
    """Kills its process."""
    with _recorded(n, sealed):
        os.kill(os.getpid(), signal.SIGKILL)
