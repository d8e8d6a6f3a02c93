"""The machine loses power: the server's log ends anywhere, and what it holds is a moment of the past.

The machine stays on here. The log of random commands is cut at each end of a record, around and between
them, and read again: what is there then is what was there after the last call that is whole in it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from redjobs.commands import Command
from redjobs.keys import Keys
from tests import invariants
from tests.lua.seeds import Lab
from tests.servers import Kind, Server, running
from tests.test_state_machine import FIRST, STEPS, Chance, Machine

T = TypeVar("T")

Dump = dict[bytes, bytes]


@pytest.fixture
def server(kind: Kind) -> Iterator[Server]:
    """One that has written its log before it answers."""
    with running(kind, "--appendonly", "yes", "--appendfsync", "always") as alone:
        yield alone


class Witness(Lab):
    """Writes down after each call how long the log is, and what the server holds."""

    def __init__(self, server: Server, keys: Keys) -> None:
        super().__init__(server, keys)
        self.log = server.append_only_file
        self.moments: list[tuple[int, Dump]] = [(self.log.stat().st_size, {})]

    def run(self, command: Command[T]) -> T:
        reply = super().run(command)
        self.look()
        return reply

    def look(self) -> None:
        size = self.log.stat().st_size
        if size > self.moments[-1][0]:
            self.moments.append((size, self.dump()))

    def at(self, size: int) -> Dump:
        """What the server held when its log was this long."""
        return next(held for length, held in reversed(self.moments) if length <= size)


def reload(client: Any, log: Path, left: bytes) -> None:
    """Let the server read its log again, of which this is left."""
    log.write_bytes(left)
    # It reports a torn record as an error, when it has read all before it and cut it off.
    with contextlib.suppress(redis.ResponseError):
        client.execute_command("DEBUG", "LOADAOF")


@pytest.mark.row(17)
@pytest.mark.parametrize(
    "every_byte", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_wherever_the_log_ends_it_is_a_moment_of_the_past(
    server: Server, keys: Keys, every_byte: bool
) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    witness = Witness(server, keys)
    machine, rng = Machine(witness, []), random.Random(seed)
    machine.rng = Chance(rng.randrange)
    # There, times come and pass by hand, in commands of their own.
    by_hand = (Machine.the_time_of_a_job_comes, Machine.what_is_over_is_swept)
    steps = {step: weight for step, weight in STEPS.items() if step not in by_hand}
    for step in [
        *FIRST,
        *rng.choices(list(steps), list(steps.values()), k=300 if every_byte else 60),
    ]:
        step(machine)
        witness.look()
    first, (last, held) = witness.moments[0][0], witness.moments[-1]
    assert held, "something was left"
    ends = {size for size, _ in witness.moments}
    cuts = {end + by for end in ends for by in (-1, 0, 1)} | set(range(first, last, 1 if every_byte else 499))
    if server.kind.name.startswith("redis"):
        cuts = ends  # it ends itself where this command finds a torn record; a start cuts that off, too
    whole = witness.log.read_bytes()
    for cut in sorted(cut for cut in cuts if max(first, last - 16_384) <= cut <= last):
        reload(witness.redis, witness.log, whole[:cut])
        assert witness.dump() == witness.at(cut), f"the log ends at {cut}"
        if cut in ends:
            invariants.check(witness.redis)
