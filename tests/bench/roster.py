"""Who takes part: redjobs, the limits of its design, and its peers at pinned versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version

SYNC, ASYNC = "sync", "async"


@dataclass(frozen=True)
class Peer:
    """One row of the tables."""

    name: str
    #: Its adapter in this package.
    module: str
    #: What is installed for it, pinned; nothing: it runs in the environment of the bench.
    packages: tuple[str, ...] = ()
    #: What is installed besides for its best settings.
    best_packages: tuple[str, ...] = ()
    least_python: str = "3.11"
    kinds: tuple[str, ...] = (SYNC, ASYNC)
    #: Settings as it comes, and as its documents recommend for speed.
    default: str = ""
    best: str = ""
    #: What a killed worker may cost.
    delivery: str = "at least once"
    #: Where its scheduled jobs wait. In a worker's memory a timer is all that they need, but the worker has
    #: fetched them before they are due, and keeps them to itself: lateness is not compared with these.
    schedule: str = "Redis"
    #: Jobs per second that it drains, roughly: so many are enqueued that a run takes its time.
    pace: dict[str, int] = field(default_factory=lambda: {SYNC: 1_000, ASYNC: 1_000})
    #: Jobs per second that it schedules, roughly.
    schedules: int = 1_000
    #: redjobs and its limits: always run, and measured more often.
    own: bool = False
    #: Limits are no queues: they have no settings, and most cases mean nothing for them.
    limit: bool = False

    #: redjobs again, under another condition: not judged, and no rival of its own.
    control: bool = False

    @property
    def modes(self) -> tuple[str, ...]:
        """The settings that are measured."""
        return ("default", "best") if self.best else ("default",)

    def packages_for(self, mode: str) -> tuple[str, ...]:
        """What its environment holds."""
        return self.packages + self.best_packages if mode == "best" else self.packages

    def environment_for(self, mode: str) -> str:
        """The name of its environment: another one where the best settings need more packages."""
        suffix = "-control" if self.control else "-best" if mode == "best" and self.best_packages else ""
        return self.module + suffix


def _as_here(*packages: str) -> tuple[str, ...]:
    """These packages at the versions that the bench itself runs with."""
    return tuple(f"{package}=={version(package)}" for package in packages)


#: Measured in this order: what is compared round by round stands together.
PEERS = (
    Peer(
        "redjobs",
        "redjobs",
        best_packages=(*_as_here("redis", "hiredis", "msgpack", "click"), "uvloop==0.23.0"),
        default="redjobs worker",
        best="uvloop installed, --log-level warning (no line per job)",
        pace={SYNC: 60_000, ASYNC: 45_000},
        schedules=20_000,
        own=True,
    ),
    Peer(
        "ideal",
        "ideal",
        kinds=(SYNC,),
        default="redjobs' scripts on a raw socket, the leanest loop; a bulk in calls of 160, all sent ahead",
        pace={SYNC: 120_000},
        schedules=50_000,
        own=True,
        limit=True,
    ),
    Peer(
        "redis-py alone",
        "plain",
        kinds=(),
        default="makes the id, packs the arguments, calls redjobs' script with redis-py's evalsha (RESP2)",
        own=True,
        limit=True,
    ),
    Peer(
        "bare list",
        "bare",
        kinds=(SYNC,),
        default="LPUSH, RPOPLPUSH, LREM pipelined on a raw socket; no Lua",
        pace={SYNC: 500_000},
        own=True,
        limit=True,
    ),
    Peer(
        "redjobs, newer Python",
        "redjobs",
        packages=(*_as_here("redis", "hiredis", "msgpack", "click"), "uvloop==0.23.0"),
        least_python="3.12",
        default="redjobs worker, uvloop installed: for comparison with peers that need a newer Python",
        pace={SYNC: 90_000, ASYNC: 60_000},
        schedules=20_000,
        control=True,
    ),
    Peer(
        "rq",
        "rq",
        packages=("rq==3.0.0", "redis==8.1.0", "hiredis==3.5.0"),
        kinds=(SYNC,),
        default="rq worker --with-scheduler (a fork per job)",
        best="SimpleWorker (no fork), result_ttl=0, --quiet",
        pace={SYNC: 300},
        schedule="Redis, in whole seconds: jobs may run up to one too early",
    ),
    Peer(
        "celery",
        "celery",
        packages=("celery[redis]==5.7.0", "redis==8.1.0", "hiredis==3.5.0"),
        kinds=(SYNC,),
        default="celery worker --concurrency 1 (prefork; its other pools are not run), no result backend",
        best="prefetch multiplier 128, task_ignore_result, no gossip, mingle, heartbeat, --loglevel ERROR",
        delivery="at most once",
        schedule="the worker's memory",
        pace={SYNC: 1_400},
        schedules=600,
    ),
    Peer(
        "dramatiq",
        "dramatiq",
        packages=("dramatiq[redis]==2.2.1", "redis==8.1.0", "hiredis==3.5.0"),
        default="dramatiq --processes 1 (8 threads), AsyncIO middleware",
        best="prefetch 200",
        schedule="the worker's memory",
        pace={SYNC: 5_000, ASYNC: 4_000},
    ),
    Peer(
        "blitzq",
        "blitzq",
        packages=("blitzq==1.1.0", "redis==8.1.0", "hiredis==3.5.0"),
        best_packages=("uvloop==0.23.0",),
        least_python="3.12",
        default="blitzq worker (mode reliable; its mode fast loses a killed worker's jobs, and is not run)",
        best="store_results=False, concurrency 200, batch size 200, uvloop installed, --log-level WARNING",
        pace={SYNC: 14_000, ASYNC: 35_000},
    ),
    Peer(
        "ardiq",
        "ardiq",
        packages=("ardiq==1.2.0", "msgpack==1.2.4"),
        least_python="3.12",
        default="ardiq run",
        best="concurrency 200, prefetch 200, result_ttl_ms=0",
        pace={SYNC: 9_000, ASYNC: 16_000},
    ),
    Peer(
        "taskiq",
        "taskiq",
        packages=("taskiq==0.13.0", "taskiq-redis==1.2.4", "redis==8.1.0", "hiredis==3.5.0"),
        best_packages=("uvloop==0.23.0",),
        default="taskiq worker --workers 1, RedisStreamBroker, no results; taskiq scheduler beside it",
        best="200 async tasks, prefetch 200, --no-parse, uvloop, scheduler every second, log WARNING",
        pace={SYNC: 3_000, ASYNC: 5_000},
        schedules=500,
    ),
    Peer(
        "huey",
        "huey",
        packages=("huey==3.5.4", "redis==8.1.0", "hiredis==3.5.0"),
        kinds=(SYNC,),
        default="huey_consumer (one thread)",
        best="results=False, --quiet; more threads are no faster with jobs that do nothing",
        delivery="at most once",
        pace={SYNC: 4_500},
    ),
    Peer(
        "arq",
        "arq",
        packages=("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0"),
        kinds=(ASYNC,),
        default="arq (10 jobs at a time, polls every 0.5 s)",
        best="max_jobs 100, poll_delay 0.01, keep_result 0, --custom-log-dict (no line per job)",
        pace={ASYNC: 2_500},
        schedules=500,
    ),
    Peer(
        "saq",
        "saq",
        packages=("saq[hiredis]==0.26.4", "redis==7.4.1", "hiredis==3.5.0", "typing_extensions==4.16.0"),
        default="saq (10 jobs at a time)",
        best="concurrency 100, ttl=-1 (no results); its schedule timer cannot be less than a second",
        delivery="at most once (retries=1)",
        pace={SYNC: 2_600, ASYNC: 3_000},
    ),
    Peer(
        "streaq",
        "streaq",
        packages=("streaq==7.2.0",),
        best_packages=("uvloop==0.23.0",),
        default="streaq run (16 tasks at a time)",
        best="concurrency 100, ttl=0, silent, uvloop",
        pace={SYNC: 1_200, ASYNC: 1_900},
    ),
    Peer(
        "bullmq",
        "bullmq",
        packages=("bullmq==3.4.4", "redis==8.1.0", "hiredis==3.5.0"),
        kinds=(ASYNC,),
        default="Worker (concurrency 1)",
        best="concurrency 10, removeOnComplete",
        pace={ASYNC: 3_000},
    ),
    Peer(
        "docket",
        "docket",
        packages=("pydocket==0.27.0", "redis==8.1.0", "hiredis==3.5.0"),
        kinds=(ASYNC,),
        default="docket worker (concurrency 10)",
        best="concurrency 50 (of 100 some found no connection), execution_ttl 0, checks every 20 ms",
        pace={ASYNC: 1_700},
        schedules=800,
    ),
)

BY_NAME = {peer.name: peer for peer in PEERS}
