"""When a worker beats and sweeps, and in how many round trips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redjobs.commands import Command, Swept, Taken
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


class Server:
    """Answers heartbeats and sweeps; those of refused queues it refuses."""

    def __init__(self) -> None:
        self.refuses: set[str] = set()
        self.swept: list[str] = []

    def run_all(self, commands: Sequence[Command[Any]]) -> list[Any]:
        return [self._run(command) for command in commands]

    def _run(self, command: Command[Any]) -> Any:
        queue = command.keys[0].partition("{")[2].partition("}")[0]
        if queue in self.refuses:
            return ResponseError("CLUSTERDOWN Hash slot not served")
        if command.script.name == "heartbeat":
            return [True]
        if command.script.name == "sweep":
            self.swept.append(queue)
            return Swept(1, 0, 0, [], [], [])
        return Taken(False, [], None, 0, [], 0)


def test_a_queue_whose_heartbeats_were_refused_is_not_swept_before_other_workers_may_have_beaten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They were refused, too, and their leases may have run out meanwhile."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    server, options, outage = Server(), WorkerOptions(), Outage()
    upkeep = Upkeep(options, server.run_all)
    queues = [Keys("mail"), Keys("default")]

    def beat_and_sweep() -> list[str]:
        server.swept.clear()
        upkeep.beat_once({keys: ["w1"] for keys in queues}, outage)
        upkeep.sweep_once(queues, outage)
        return list(server.swept)

    server.refuses = {"mail"}
    assert beat_and_sweep() == ["default"]
    server.refuses = set()
    assert beat_and_sweep() == ["default"]
    now += options.beat_interval  # some were still waiting for an answer
    assert beat_and_sweep() == ["default"]
    now += options.answer_seconds
    assert beat_and_sweep() == ["mail", "default"]
