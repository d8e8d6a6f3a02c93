"""One chaos run: servers, workers, load and nemesis together, then the drain and the verdict."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import redis

from redjobs import Queue
from redjobs.errors import JobFailed, RedjobsError
from redjobs.keys import BELL, Keys
from redjobs.worker import WorkerOptions
from tests import invariants
from tests.chaos.fleet import Crew, Fleet
from tests.chaos.ground import Ground, ground
from tests.chaos.history import History
from tests.chaos.load import QUEUES, Load
from tests.chaos.nemesis import Nemesis, plan
from tests.chaos.record import Record
from tests.invariants import Contents
from tests.servers import real_kinds

_DRAIN_SECONDS = 90.0
_STOP_SECONDS = 20.0
_SWEEP_SECONDS = 10.0
_LINE_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """What is asked of a run."""

    seed: int
    mix: str = "all"
    seconds: float = 120.0
    #: Instead of a time: until so many processes were killed.
    kills: int = 0
    #: Acts of the nemesis per second; None: what suits the mix.
    rate: float | None = None
    server: str = "valkey"
    fsync: str = "always"
    lease: float = 2.0
    supervisors: int = 2
    processes: int = 3
    #: So many that nothing is quarantined: whoever is killed often enough looks like a poison job.
    max_crashes: int = 1_000_000
    poison: bool = False
    #: Whether jobs of dead processes must run again in time, too: on a machine with nothing else to do.
    timed: bool = False
    #: A script that the workers have in a broken form: to see that a run notices.
    broken: str = ""


@dataclass
class Seen:
    """What a run leaves behind: all that the verdict is made of."""

    settings: Settings
    history: History
    record: Record
    acts: dict[str, int] = field(default_factory=dict)
    #: How many commands met a rule of the proxy, by what became of them.
    used: dict[str, int] = field(default_factory=dict)
    #: When each job's enqueue was sent, in monotonic seconds.
    sent: dict[str, list[float]] = field(default_factory=dict)
    contents: list[Contents] = field(default_factory=list)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    #: In monotonic seconds, without the drain.
    began: float = 0.0
    seconds: float = 0.0
    drain_seconds: float = 0.0
    log_lines: dict[str, int] = field(default_factory=dict)


def run(settings: Settings, say: Callable[[str], None], keep: Path | None = None) -> Seen:
    """Do it; `say` gets a line of progress now and then. `keep`: where logs and data stay."""
    home = Path(tempfile.mkdtemp(prefix="redjobs-chaos-"))
    try:
        return _Campaign(settings, home, say).run()
    finally:
        if keep is not None:
            shutil.copytree(home, keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("socket", "proxy"))
        shutil.rmtree(home, ignore_errors=True)


class _Campaign:
    def __init__(self, settings: Settings, home: Path, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._home = home
        self._say = say
        self._seen = Seen(settings, History(), Record(home / "record"))

    def run(self) -> Seen:
        settings, seen = self._settings, self._seen
        kind = next(kind for kind in real_kinds() if kind.name.startswith(settings.server))
        with ground(kind, self._home, settings.fsync) as here, self._fleet(here) as fleet:
            nemesis = self._break(here, fleet)
            seen.acts, seen.used, seen.sent = dict(nemesis.done), nemesis.used, here.proxy.sent
            self._drain(here, fleet)
            self._look(here)
            self._await_sweeps(here, fleet)
            seen.wrong += fleet.stop(_STOP_SECONDS)
            self._look_at_the_end(here, fleet)
        seen.record.read()
        seen.record.close()
        faults = [asdict(fault) | {"pids": sorted(fault.pids or ())} for fault in seen.history.faults]
        (self._home / "faults.json").write_text(json.dumps(faults, indent=1))
        return seen

    @contextlib.contextmanager
    def _fleet(self, here: Ground) -> Iterator[Fleet]:
        """Supervisors of different shapes, one process without, all of them behind the proxy."""
        settings = self._settings
        common: dict[str, Any] = {
            "queues": QUEUES,
            "apps": ("tests.chaos.jobs",),
            "lease": settings.lease,
            "grace": 5.0,
            "concurrency": 8,
            "max_crashes": settings.max_crashes,
        }
        shapes: list[dict[str, Any]] = [
            {"processes": settings.processes, "threads": 1 + 2 * (number % 2), "preload": number != 1}
            for number in range(settings.supervisors)
        ]
        crews = [
            Crew(
                f"crew-{number}",
                here.proxy.url,
                self._home,
                WorkerOptions(**common, **shape),
                broken=settings.broken,
            )
            for number, shape in enumerate([*shapes, {"processes": 0, "threads": 2}])
        ]
        fleet = Fleet(crews)
        try:
            fleet.ensure()
            yield fleet
        finally:
            fleet.destroy()

    # The run ---------------------------------------------------------------------------------

    def _break(self, here: Ground, fleet: Fleet) -> Nemesis:
        settings, seen = self._settings, self._seen
        acts = plan(settings.mix, settings.seed, settings.seconds, settings.kills, settings.rate)
        url, lease = here.proxy.url, settings.lease
        load = Load(settings.seed, url, seen.history, seen.record, lease=lease, poison=settings.poison)
        nemesis = Nemesis(acts, here, fleet, seen.history, lease=lease, enough=settings.kills)
        began = seen.began = time.monotonic()
        load.start()
        self._await_first_run(fleet)
        nemesis.start()
        try:
            while nemesis.is_alive() or (not settings.kills and time.monotonic() - began < settings.seconds):
                time.sleep(0.25)
                fleet.ensure()
                self._progress(nemesis, time.monotonic() - began)
                _raise_of(load, nemesis)
        finally:
            nemesis.stop()
            load.stop()
            _raise_of(load, nemesis)
        seen.seconds = time.monotonic() - began
        return nemesis

    def _await_first_run(self, fleet: Fleet) -> None:
        deadline = time.monotonic() + 30
        while not self._seen.record.done:
            assert time.monotonic() < deadline, f"no worker has run a job: {fleet.crews[0].log}"
            time.sleep(0.05)
            self._seen.record.read()

    def _progress(self, nemesis: Nemesis, seconds: float) -> None:
        self._seen.record.read()
        history, record = self._seen.history, self._seen.record
        self._say(
            f"{seconds:5.0f} s  jobs {len(history.acknowledged)}  done {len(record.done)}"
            f"  waiting {history.waiting(record.done)}  acts {nemesis.done.total()}  kills {nemesis.kills}"
        )

    # The end ---------------------------------------------------------------------------------

    def _drain(self, here: Ground, fleet: Fleet) -> None:
        """Until nothing lives in the queues any more."""
        began = time.monotonic()
        deadline = began + _DRAIN_SECONDS
        client = here.client()
        nothing = 0
        while nothing < 2:  # a job may hide while it moves from one place to the next
            left = sum(_living(client, name) for name in QUEUES)
            nothing = 0 if left else nothing + 1
            if time.monotonic() > deadline:
                self._seen.wrong.append(f"{left} jobs were left when the queues were to be drained")
                break
            time.sleep(0.1)
            fleet.ensure()
            self._seen.record.read()
            self._say(f"drain: {left} jobs are left, {time.monotonic() - began:.0f} s")
        client.close()
        self._seen.drain_seconds = time.monotonic() - began

    def _look(self, here: Ground) -> None:
        """Results, while workers are still there."""
        history, record = self._seen.history, self._seen.record
        record.read()
        done = {run.job for run in record.runs if run.is_done}
        queues = [Queue(name, url=here.url) for name in QUEUES]
        for job in history.answers[-200:]:
            found = [result for queue in queues if (result := _result(queue, job)) is not None]
            if job in done - history.may_be_cancelled and not found:
                self._seen.wrong.append(f"{job} has run and has no result")
            if found and found != [2 * history.numbers[job]] and not isinstance(found[0], JobFailed):
                self._seen.wrong.append(f"{job} has the result {found}")
        for queue in queues:
            queue.close()

    def _await_sweeps(self, here: Ground, fleet: Fleet) -> None:
        """Until whoever was killed is no worker any more: all that are left can say goodbye."""
        lease, client = self._settings.lease, here.client()
        seconds, micros = client.time()
        #: Leases that were renewed from now on last longer.
        known = (seconds + lease) * 1000 + micros / 1000
        deadline = time.monotonic() + 2 * lease + _SWEEP_SECONDS
        while dead := [worker for worker, until in _workers(client).items() if until < known]:
            if time.monotonic() > deadline:
                self._seen.wrong.append(f"{dead} have no lease any more, and were not swept")
                break
            time.sleep(0.05)
            fleet.ensure()
        client.close()

    def _look_at_the_end(self, here: Ground, fleet: Fleet) -> None:
        client = here.client()
        self._seen.wrong += invariants.violations(client)
        self._seen.wrong += [f"{worker} was stopped, and is named" for worker in _workers(client)]
        self._seen.contents, _ = invariants.read(client)
        for contents in self._seen.contents:
            raw: Any = client.hgetall(contents.keys.stats)
            counters = {name.decode(): int(count) for name, count in raw.items()}
            self._seen.counters[contents.keys.queue] = counters
        client.close()
        said = [line for crew in fleet.crews for line in crew.log.splitlines()]
        for text in _SAID:
            self._seen.log_lines[text] = sum(text in line for line in said)
        self._seen.wrong += sorted({line[:300] for line in said if _is_alarming(line)})


def _result(queue: Queue, job: str) -> Any:
    """What a job returned, or that it is dead; None where this queue has no such job, or no result."""
    try:
        return queue.result(job)
    except JobFailed as dead:
        return dead
    except RedjobsError:
        return None


#: What workers say of repairs, and what they should never say.
_SAID = (
    "had run out",
    "gave back",
    "recovered",
    "swept",
    "lost ",
    "the server is gone",
    "the supervisor is gone",
    "refuses a command",
)
_ALARMS = ("Traceback", "dropped id", "CRITICAL", "Task exception", "did not end within")


def _is_alarming(line: str) -> bool:
    return any(alarm in line for alarm in _ALARMS)


def _living(client: redis.Redis, queue: str) -> int:
    """How many jobs are scheduled, ready or processing, as far as one can see while they move."""
    keys = Keys(queue)
    found: Any = client.zcard(keys.scheduled)
    lists = [keys.ready, *client.scan_iter(f"{keys.ready}:*"), *client.scan_iter(keys.processing("*"))]
    for name in lists:
        ids: Any = client.lrange(name, 0, -1)
        found += sum(item != BELL.encode() for item in ids)
    return int(found)


def _workers(client: redis.Redis) -> dict[str, float]:
    """When the lease of each worker of the queues ends, in milliseconds."""
    found: dict[str, float] = {}
    for name in QUEUES:
        leases: Any = client.zrange(Keys(name).workers, 0, -1, withscores=True)
        found |= {f"worker {worker.decode()} of {name}": until for worker, until in leases}
    return found


def _raise_of(*threads: Load | Nemesis) -> None:
    for thread in threads:
        if thread.problem is not None:
            raise thread.problem


class Progress:
    """Lines of progress: on a terminal each overwrites the last, elsewhere there is one every 10 seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._next_at = clock() + _LINE_SECONDS

    def say(self, text: str) -> None:
        """How far it is."""
        if self._stream.isatty():
            self._stream.write(f"\r{text:<100}")
        elif self._clock() >= self._next_at:
            self._next_at = self._clock() + _LINE_SECONDS
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def end(self) -> None:
        """There will be no more: leave an empty line on a terminal."""
        if self._stream.isatty():
            self._stream.write(f"\r{'':<100}\r")
            self._stream.flush()
