"""One measurement: a server of its own, a producer, workers; all of it ends with the block."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench import server as servers
from tests.bench.board import BOARD, Board
from tests.bench.environments import ROOT, python_of
from tests.bench.peers.adapter import KIND, MODE, URL
from tests.bench.producer import Producer
from tests.bench.programs import Program
from tests.bench.results import Variant
from tests.bench.roster import Peer
from tests.bench.scale import Scale

_LOOK_SECONDS = 0.005
_START_SECONDS = 30.0


class Unproven(Exception):
    """Not all jobs ran, or one ran twice: then a rate means nothing."""


class Block:
    """What a case measures with."""

    def __init__(
        self, peer: Peer, variant: Variant, scale: Scale, binary: str, jobs: int, *, install: bool = True
    ) -> None:
        self.peer = peer
        self.variant = variant
        self.scale = scale
        self._binary = binary
        self._jobs = jobs
        self._install = install
        self._stack = ExitStack()
        self._workers: list[Program] = []

    def __enter__(self) -> Self:
        try:
            return self._enter()
        except BaseException:
            self._stack.close()
            raise

    def _enter(self) -> Self:
        python = python_of(self.peer, self.variant.mode, install=self._install)
        self.home = Path(tempfile.mkdtemp(prefix="redjobs-bench-"))
        self._stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        running = servers.running(self._binary, self.home, aof=self.variant.aof)
        self.server = self._stack.enter_context(running)
        self.board = Board.create(self.home / "board", self._jobs)
        packages = [package.partition("==")[0] for package in self.peer.packages_for(self.variant.mode)]
        packages = [package.partition("[")[0] for package in packages] or ["redis", "hiredis", "msgpack"]
        command = [python, "-m", "tests.bench.agent", self.peer.module, self.server.url, self.variant.mode]
        self.producer = Producer([*command, *packages], self._environment(), self.home)
        self._stack.callback(self.producer.close)
        self.versions: dict[str, str] = self.producer.ask("about", limit=_START_SECONDS)
        self.pings = self.server.pings()
        return self

    def beside(self) -> Block:
        """Another one like this, with a server and a producer of its own; it ends with this one."""
        other = Block(self.peer, self.variant, self.scale, self._binary, self._jobs, install=self._install)
        return self._stack.enter_context(other)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _environment(self) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("REDJOBS_")},
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "",
            BOARD: str(self.home / "board"),
            URL: self.server.url,
            MODE: self.variant.mode,
            KIND: self.variant.kind,
        }

    # Jobs ----------------------------------------------------------------------------------

    @property
    def hit(self) -> str:
        """The job that only counts itself."""
        return "ahit" if self.variant.kind == "async" else "hit"

    @property
    def nap(self) -> str:
        """The job that is busy for long."""
        return "anap" if self.variant.kind == "async" else "nap"

    # Workers -------------------------------------------------------------------------------

    def work(self, processes: int | None = None) -> list[Program]:
        """Start workers: as many processes as the variant says."""
        count = processes or self.variant.processes
        return self._start(self.producer.ask("worker", kind=self.variant.kind, processes=count))

    def work_elsewhere(self) -> list[Program]:
        """Start a worker of the other queue. Raises NotOffered where there is none."""
        return self._start(self.producer.ask("worker_elsewhere"))

    def _start(self, commands: list[list[str]]) -> list[Program]:
        started = []
        for number, command in enumerate(commands):
            name = f"worker-{len(self._workers)}-{number}"
            program = Program(command, self._environment(), self.home, name)
            self._stack.callback(program.kill)
            self._workers.append(program)
            started.append(program)
        return started

    def warm_up(self, number: int, limit: float = _START_SECONDS) -> None:
        """Workers are up once they have run this job."""
        self.producer.ask("enqueue", job=self.hit, first=number, count=1)
        self.wait(lambda: self.board.ran(number, 1) == 1, limit, "the worker runs no job")

    def wait(self, reached: Callable[[], bool], limit: float, complaint: str) -> None:
        """Until something is so. Raises Unproven with the complaint and the workers' last words."""
        until = time.monotonic() + limit
        while not reached():
            over = time.monotonic() > until
            if over or (self._workers and all(program.ended for program in self._workers)):
                words = " | ".join(filter(None, [program.last_words() for program in self._workers]))
                when = f"after {limit:g} s" if over else "and the workers have ended"
                raise Unproven(f"{complaint} {when}: {words}")
            time.sleep(_LOOK_SECONDS)

    def wait_for_all(self, first: int, count: int, limit: float) -> None:
        """Until all these jobs have run. Raises Unproven if they do not."""
        try:
            self.wait(lambda: self.board.ran(first, count) == count, limit, "that is all")
        except Unproven as error:
            raise Unproven(f"{self.board.ran(first, count)} of {count} jobs ran; {error}") from None

    def ran_twice(self, first: int, count: int) -> int:
        """How many starts there were beyond one for each job. Raises Unproven where it is redjobs' own."""
        more = self.board.total(first, count) - count
        if more and self.peer.own:
            raise Unproven(f"{count} jobs ran {count + more} times")
        return more
