"""No call holds the server for long, and an ordinary job costs little memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from redjobs import commands
from redjobs.commands import BATCH
from tests.lua.seeds import HOUR, Lab


@pytest.mark.row(29)
@pytest.mark.unchecked("its jobs are ids only: a hundred thousand hashes would take too long")
def test_a_hundred_thousand_jobs_due_at_once_are_promoted_in_bounded_calls(lab: Lab) -> None:
    count, moment = 100_000, lab.now_ms() - HOUR
    for start in range(0, count, 10_000):
        ids = [f"Vabcdefghijkl-{number:06}" for number in range(start, start + 10_000)]
        lab.redis.zadd(lab.keys.scheduled, dict.fromkeys(ids, moment))
    lab.worker("w1")
    with slowlog(lab) as took_us:
        calls, promoted, due = 0, 0, True
        while due:
            taken = lab.run(commands.take(lab.keys, "w1", 10, ()))
            assert taken.promoted <= BATCH
            assert len(taken.ids) == 10
            calls, promoted, due = calls + 1, promoted + taken.promoted, taken.next_ms == 0
    assert (calls, promoted) == (count // BATCH, count)
    # A figure for people only: on a busy machine any call may take long.
    assert len(took_us) >= calls
    print(f"{lab.server.kind}: of {len(took_us)} calls the longest took {max(took_us) / 1_000:.1f} ms")


@contextlib.contextmanager
def slowlog(lab: Lab) -> Iterator[list[int]]:
    """How long each call of a script took, in microseconds: known at the end of the block."""
    # What a script calls is in the log, too. It takes memory, and others use the server.
    settings = {"slowlog-log-slower-than": 0, "slowlog-max-len": 100_000}
    before = {name: lab.redis.config_get(name)[name] for name in settings}
    took_us: list[int] = []
    for name, value in settings.items():
        lab.redis.config_set(name, value)
    try:
        lab.redis.slowlog_reset()
        yield took_us
        found = lab.redis.slowlog_get(100_000)
        took_us += [each["duration"] for each in found if b"EVAL" in each["command"]]
    finally:
        for name, value in before.items():
            lab.redis.config_set(name, value)
        lab.redis.slowlog_reset()


#: The second is what Redis 6.2 calls its own.
COMPACT = ("listpack", "ziplist")


@pytest.mark.parametrize("options", [{}, {"key": "reminder:4711"}, {"max_attempts": 5, "timeout": 30}])
def test_a_job_stays_compact_all_its_life(lab: Lab, options: dict[str, Any]) -> None:
    def encoding() -> str:
        return str(lab.redis.object("ENCODING", lab.keys.job(job)).decode())

    (job,) = lab.scheduled(**options)
    assert encoding() in COMPACT
    lab.fall_due(job)
    assert lab.take("w1") == [job]
    lab.run(commands.begin(lab.keys, "w1", "t" * 12, [job]))
    assert encoding() in COMPACT
    lab.run(commands.retry(lab.keys, lab.claim(job), HOUR))
    assert encoding() in COMPACT


def test_memory_per_scheduled_job_is_small(lab: Lab) -> None:
    count = 3_000
    before = lab.redis.info("memory")["used_memory"]
    for _ in range(count // BATCH):
        lab.scheduled(BATCH)
    each = (lab.redis.info("memory")["used_memory"] - before) / count
    print(f"{lab.server.kind}: {each:.0f} bytes for a scheduled job")
    assert each < 500
