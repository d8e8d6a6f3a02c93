"""When a worker beats and sweeps, and in how many round trips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redjobs.commands import Command
from redjobs.keys import Keys
from redjobs.worker.options import WorkerOptions
from redjobs.worker.outage import Outage
from redjobs.worker.upkeep import Upkeep


def test_the_heartbeats_of_all_queues_are_one_round_trip() -> None:
    trips: list[Sequence[Command[Any]]] = []

    def run_all(commands: Sequence[Command[Any]]) -> list[Any]:
        trips.append(commands)
        # The second worker of each queue has lost its lease.
        return [[True, False] for _ in commands]

    queues = [Keys("critical"), Keys("default"), Keys("mail")]
    workers = {keys: [f"{keys.queue}-1", f"{keys.queue}-2"] for keys in queues}
    lapsed = Upkeep(WorkerOptions(), run_all).beat_once(workers, Outage())
    (together,) = trips
    assert [command.keys[0] for command in together] == [keys.workers for keys in queues]
    assert lapsed == {"critical-2", "default-2", "mail-2"}
