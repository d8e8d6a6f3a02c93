"""The jobs of these tests. Each run is written down outside of Redis: what is tested is not asked.

Where a test has to decide when something goes on, a job waits for a file, its gate.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import decimal
import io
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from contextvars import ContextVar
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import redjobs
from redjobs import Bury, JobTimeout, Retry, Snooze, current_job
from redjobs.current import current
from tests.worker.runs import RUNS, write

_LOOK_SECONDS = 0.005


def note(word: str, text: object = "") -> None:
    """Write down that this happened in the job that is running."""
    job = current_job()
    assert job is not None, "only a job takes notes"
    write(Path(os.environ[RUNS]), word, job.id, job.attempt, os.getpid(), str(text))


def _starts() -> int:
    """How often the job that is running was started."""
    job = current_job()
    assert job is not None
    return Path(os.environ[RUNS]).read_text().count(f"start {job.id} ")


def wait_for(gate: str) -> None:
    """Until a file is there."""
    while not Path(gate).exists():
        time.sleep(_LOOK_SECONDS)


async def wait_for_async(gate: str) -> None:
    """Until a file is there, letting others run."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(_LOOK_SECONDS)


# Jobs that do their work --------------------------------------------------------------------


def record(text: str = "") -> None:
    note("start", text)
    note("end", text)


async def task_name() -> None:
    task = asyncio.current_task()
    assert task is not None
    note("end", task.get_name())


async def record_async(text: str = "") -> None:
    note("start", text)
    await asyncio.sleep(0)
    note("end", text)


def count_files() -> None:
    """How many files may be open here."""
    note("end", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


#: What a framework remembers for whom it works.
tenant = ContextVar("tenant", default="nobody")


def as_tenant(name: str) -> None:
    note("found", tenant.get())
    tenant.set(name)
    note("precision", decimal.getcontext().prec)
    decimal.getcontext().prec = 5
    note("end", tenant.get())


async def as_tenant_async(name: str) -> None:
    note("found", tenant.get())
    tenant.set(name)
    note("precision", decimal.getcontext().prec)
    decimal.getcontext().prec = 5
    await asyncio.sleep(0)
    note("end", tenant.get())


def wait(gate: str, text: str = "") -> None:
    note("start", text)
    wait_for(gate)
    note("end", text)


async def wait_async(gate: str, text: str = "") -> None:
    note("start", text)
    await wait_for_async(gate)
    note("end", text)


def wait_nth(gate: str) -> None:
    """Each run waits for a gate of its own, and keeps its worker from taking more."""
    note("start")
    wait_for(f"{gate}{_starts()}")
    note("end")


async def wait_for_nth(gate: str) -> None:
    """Each run waits for a gate of its own."""
    note("start")
    await wait_for_async(f"{gate}{_starts()}")
    note("end")


def fail_first(gate: str) -> None:
    """Its first run waits for the gate and fails; the others do their work."""
    note("start")
    if _starts() == 1:
        wait_for(gate)
        raise ValueError("too late")
    note("end")


def take_seconds(seconds: float, text: str = "") -> None:
    note("start", text)
    time.sleep(seconds)
    note("end", text)


async def keep_busy(seconds: float) -> None:
    """A coroutine that never waits for anything: all others wait for it."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point


async def keep_busy_until(gate: str) -> None:
    """The same until the gate is there, after all others have started."""
    note("start", "busy")
    await asyncio.sleep(0.05)
    note("blocks")
    wait_for(gate)
    note("end", "busy")


async def block(gate: str) -> None:
    """The same at once: those that were taken with it do not start."""
    note("start", "blocks")
    wait_for(gate)
    note("end", "blocks")


def record_crashes() -> None:
    """Writes down how many workers have crashed while it was running."""
    work = current.get()
    assert work is not None
    note("end", work.claim.crashes)


_at_once: list[str] = []


def count_at_once(expected: int) -> None:
    """Writes down how many run at once, itself included, when as many as expected have come."""
    _at_once.append("one more")
    deadline = time.monotonic() + 5
    while len(_at_once) < expected and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    time.sleep(0.001)  # for those that should not have come
    note("end", len(_at_once))
    _at_once.pop()


async def count_at_once_async(expected: int) -> None:
    _at_once.append("one more")
    deadline = time.monotonic() + 5
    while len(_at_once) < expected and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_SECONDS)
    await asyncio.sleep(0.001)
    note("end", len(_at_once))
    _at_once.pop()


def open_gate(gate: str, after: int) -> None:
    """Let those go on that wait for this gate, once so many jobs have started."""
    note("start")
    while Path(os.environ[RUNS]).read_text().count("start") < after + 1:
        time.sleep(_LOOK_SECONDS)
    Path(gate).touch()
    note("end")


def manage(url: str) -> None:
    """A job that changes its mind about another one."""
    queue = redjobs.Queue("nobody-serves-this", url=url)
    planned = queue.options(key="managed").enqueue_in(timedelta(hours=1), record)
    assert queue.options(key="managed").enqueue(record).id == planned.id
    assert queue.reschedule(planned.id, 7_200.0)
    assert queue.cancel("managed")
    assert queue.cancel(queue.enqueue_in(timedelta(0), record).id)
    queue.close()
    note("end")


def enqueue_more(url: str, count: int) -> None:
    """A job that leads to another, so many times."""
    if count:
        queue = redjobs.Queue(url=url)
        queue.enqueue(enqueue_more, url, count - 1)
        queue.close()
    note("end", count)


def moments() -> None:
    """Writes down how many milliseconds after it was due it runs."""
    job = current_job()
    assert job is not None
    note("end", round((time.time() - job.run_at.timestamp()) * 1000))


def give(value: Any) -> Any:
    note("end")
    return value


def give_nonsense() -> Any:
    """Returns what no payload can hold."""
    note("end")
    return object()


class NoZone(tzinfo):
    """A time zone without an offset: whoever asks for it gets an exception."""


def give_a_value_that_raises() -> Any:
    """Returns what raises when it is read."""
    note("end")
    return datetime(2026, 1, 1, tzinfo=NoZone())  # type: ignore[abstract]


# Jobs that ask for something ----------------------------------------------------------------


def fail(text: str = "no such user") -> None:
    note("start", text)
    raise ValueError(text)


async def fail_async(text: str = "no such user") -> None:
    note("start", text)
    raise ValueError(text)


def say(text: str) -> None:
    """To the log, as an app does."""
    logging.getLogger("shop").warning(text)


async def say_async(text: str) -> None:
    await asyncio.sleep(0)
    logging.getLogger("shop").warning(text)


def say_what_it_is(text: str) -> None:
    """With the logger that comes with a job."""
    job = current_job()
    assert job is not None
    job.log.warning(text)
    note("end", job.enqueued_at.isoformat())


def fail_until(attempt: int) -> None:
    job = current_job()
    assert job is not None
    note("start", job.attempt)
    if job.attempt < attempt:
        raise ValueError(f"attempt {job.attempt}")
    note("end", job.attempt)


def _backoff(attempt: int, error: BaseException) -> timedelta:
    return timedelta(hours=attempt) if isinstance(error, ValueError) else timedelta(days=attempt)


@redjobs.job(backoff=_backoff)
def fail_with_backoff_function() -> None:
    note("start")
    raise ValueError("hours, not days")


def ask_for_retry(seconds: float) -> None:
    note("start")
    raise Retry("the shop is closed", after=seconds)


def snooze(seconds: float) -> None:
    note("start")
    raise Snooze(seconds)


def bury() -> None:
    note("start")
    raise Bury("wrong address")


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("this error cannot even be shown")


def fail_unspeakably() -> None:
    note("start")
    raise _Unspeakable


async def fail_unspeakably_async() -> None:
    note("start")
    raise _Unspeakable


def almost_async(how: str) -> object:
    """What a decorator may make of a coroutine function: marked as one, and not `async def`."""
    note("start", how)
    if how == "raises":
        raise ValueError("no such user")
    if how == "returns a future":
        future = asyncio.get_running_loop().create_future()
        future.set_result(7)
        return future
    return how


def leave(how: str) -> None:
    """Raise what usually ends a program."""
    note("start", how)
    kinds: dict[str, BaseException] = {
        "exit": SystemExit(7),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "base": BaseException("not even an Exception"),
    }
    raise kinds[how]


async def leave_async(how: str) -> None:
    leave(how)


# Jobs that take their process with them -----------------------------------------------------


def die(how: str, times: int = 99) -> None:
    """End the process the first `times` times, and then work."""
    note("start", how)
    if _starts() <= times:
        _die(how)
    note("end", how)


def die_after(seconds: float, how: str) -> None:
    note("start", how)
    time.sleep(seconds)
    _die(how)


def _die(how: str) -> None:
    if how == "exit":
        os._exit(3)
    elif how == "exit cleanly":
        os._exit(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "abort":
        os.abort()
    elif how == "segfault":
        ctypes.string_at(0)


def exhaust_memory() -> None:
    note("start")
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, before[1]))
    try:
        bytearray(1_000_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def use_up_memory() -> None:
    """Until there is none for anybody in this process, to its last bytes; it stays so."""
    note("start")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + 50_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for size in (1_000_000, 10_000, 1_000, 100):
        with contextlib.suppress(MemoryError):
            while True:
                _kept.append(b"x" * size)
    link: object = None
    with contextlib.suppress(MemoryError):
        while True:
            link = (link,)
            _kept[0] = link
    raise MemoryError


def grow(megabytes: int) -> None:
    """Use more memory, and keep it."""
    _kept.append(b"x" * (megabytes * 1_000_000))
    note("end", megabytes)


_kept: list[object] = []


def take_all_numbers(count: int, gate: str) -> None:
    """Open so many files, and until the gate is there whatever number below becomes free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 200)), hard))
    while os.dup(0) < count:
        pass
    note("start")
    while not Path(gate).exists():
        fd = os.dup(0)
        if fd > count:
            os.close(fd)
            time.sleep(0.0005)
    note("end")


def fork(text: str = "") -> None:
    """A job that starts processes of its own."""
    note("start", text)
    child = multiprocessing.get_context("fork").Process(target=note, args=("forked", text))
    child.start()
    child.join()
    note("end", text)


def leave_an_orphan(gate: str) -> None:
    """A process whose parent ends before it does."""
    command = f"(until [ -e {gate} ]; do sleep 0.01; done) > /dev/null 2>&1 & echo $!"
    orphan = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    note("end", orphan.stdout.strip())


# Jobs that will not let go ------------------------------------------------------------------


def hold_the_interpreter(seconds: int, text: str = "") -> None:
    """A C function that does not let other threads run."""
    note("start", text)
    ctypes.PyDLL(None).sleep(ctypes.c_uint(seconds))
    note("end", text)


def clean_up(gate: str, text: str = "") -> None:
    """Stops when it is asked to, and says what it was asked with."""
    note("start", text)
    try:
        wait_for(gate)
    except BaseException as asked:
        note("cleanup", type(asked).__name__)
        raise
    note("end", text)


async def clean_up_async(gate: str, text: str = "") -> None:
    note("start", text)
    try:
        await wait_for_async(gate)
    except BaseException as asked:
        note("cleanup", type(asked).__name__)
        raise
    note("end", text)


async def clean_up_a_group(gate: str) -> None:
    """A task of its own that must not outlive the job."""

    async def part() -> None:
        note("start")
        try:
            await wait_for_async(gate)
        finally:
            note("cleanup", "part")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(part())
    except BaseException as asked:
        note("cleanup", "a timeout" if isinstance(asked, JobTimeout) else repr(asked))
        raise


def terminate_a_process() -> None:
    """As a pool does at its end."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join(5)
    note("end", str(process.exitcode))
    process.kill()


def _ends_nothing(*_: object) -> None:
    """A handler of SIGALRM of an app's own."""


def change_alarm(how: str) -> None:
    """Use SIGALRM for something else, and leave it so."""
    handlers: dict[str, Any] = {"default": signal.SIG_DFL, "ignored": signal.SIG_IGN, "own": _ends_nothing}
    signal.signal(signal.SIGALRM, handlers[how])
    note("end", how)


def clean_up_with_another_alarm(gate: str) -> None:
    change_alarm("default")
    clean_up(gate)


def refuse_to_stop(gate: str, text: str = "") -> None:
    """Goes on, whatever it is asked."""
    note("start", text)
    while not Path(gate).exists():
        try:
            wait_for(gate)
        except BaseException as asked:
            note("ignored", type(asked).__name__)
    note("end", text)


def print_and_refuse_to_stop(gate: str) -> None:
    """What it prints stands in a buffer yet when its process ends."""
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(write_through=False)  # whatever $PYTHONUNBUFFERED says
    print("printed by a job")
    refuse_to_stop(gate)


def print_into_a_full_pipe(kept: list[int]) -> None:
    """Nobody reads what it prints: its thread waits in there, and holds the lock of the buffer."""
    kept += os.pipe()
    os.dup2(kept[1], 1)
    note("start")
    print("x" * 1_000_000, flush=True)


def spin(text: str = "") -> None:
    note("start", text)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def loop() -> None:
    note("start")
    while True:
        pass


def sleep_for_ever(text: str = "") -> None:
    note("start", text)
    time.sleep(10**9)


# What the worker's process is like ----------------------------------------------------------


def modules_loaded(names: list[str]) -> None:
    note("end", ",".join(name for name in names if name in sys.modules))


async def event_loop() -> None:
    note("end", type(asyncio.get_running_loop()).__module__.partition(".")[0])


def wait_until_lost(seconds: float) -> None:
    """Writes down whether it learned that its worker's lease is gone, within this time."""
    job = current_job()
    assert job is not None
    note("start")
    deadline = time.monotonic() + seconds
    while not job.lost and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    note("end", job.lost)


def say_lost(gate: str) -> None:
    """Writes down whether it knew that another worker had its job by then."""
    job = current_job()
    assert job is not None
    note("start")
    wait_for(gate)
    note("end", job.lost)
