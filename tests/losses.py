"""What an accepted job survives, by the server's settings: `python -m tests.losses` prints a table.

Producers enqueue jobs one after the other while the server is killed (SIGKILL) at a random moment. It is
started again twice: with the files as they are, and with its log cut off where the last completed fdatasync
had it, which is the least that a loss of power leaves. A job is lost that `enqueue` had returned and that is
not there. With `--replica` a primary and its replica lose power at once, and either is started again.

A library before libc's notes each sync, and makes it slow where that is wanted (needs a C compiler).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis

from redjobs import EnqueueUnknown, NotReplicated, Queue, ServerUnavailable, embedded
from tests.embedded_home import keeper_of, kill, server_of
from tests.ports import free_port
from tests.servers import Kind, Server, real_kinds, start
from tests.waiting import wait_until
from tests.worker import handlers

PRODUCERS = 4

NOTE_SYNCS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int noted(int fd, int (*sync)(int)) {
    struct stat before;
    fstat(fd, &before);
    if (access(getenv("SYNC_SLOW"), F_OK) == 0)
        usleep(3000000);
    int result = sync(fd);
    if (result == 0) {
        int notes = open(getenv("SYNC_NOTES"), O_WRONLY | O_APPEND | O_CREAT, 0600);
        dprintf(notes, "%llu %lld\n", (unsigned long long)before.st_ino, (long long)before.st_size);
        close(notes);
    }
    return result;
}

int fdatasync(int fd) { return noted(fd, (int (*)(int))dlsym(RTLD_NEXT, "fdatasync")); }
int fsync(int fd) { return noted(fd, (int (*)(int))dlsym(RTLD_NEXT, "fsync")); }
"""


@dataclass(frozen=True)
class Setting:
    """How a server keeps its data."""

    name: str
    options: tuple[str, ...]
    #: Each sync takes three seconds.
    is_slow: bool = False
    #: `embedded://`; the options are for looking at its data.
    is_embedded: bool = False


EVERYSEC = ("--appendonly", "yes", "--appendfsync", "everysec")
#: A primary that does not wait for more replicas before it serves the first one.
SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")

SETTINGS = (
    Setting("no persistence", ()),
    Setting("snapshots (`save 1 1`)", ("--save", "1 1")),
    Setting("AOF, `no`", ("--appendonly", "yes", "--appendfsync", "no")),
    Setting("AOF, `everysec`", EVERYSEC),
    Setting("AOF, `everysec`, a sync takes 3 s", EVERYSEC, is_slow=True),
    Setting("`embedded://`, its keeper killed with it", ("--appendonly", "yes"), is_embedded=True),
    Setting("AOF, `always`", ("--appendonly", "yes", "--appendfsync", "always")),
)


@dataclass
class Loss:
    """What became of the jobs of some rounds."""

    accepted: int = 0
    lost: int = 0
    #: How long before the kill the oldest lost job had been accepted.
    oldest_s: float = 0.0
    #: How long after that moment the last one had been, where the server lived on for its producers.
    newest_s: float = 0.0

    def count(self, client: redis.Redis, accepted: list[tuple[str, float]], killed_at: float) -> None:
        """Look for all jobs of a round."""
        queue = Queue(client=client)
        asked = queue.redis.pipeline(transaction=False)
        for job_id, _ in accepted:
            asked.exists(queue.keys.job(job_id))
        ages = [
            killed_at - at
            for (_, at), is_there in zip(accepted, asked.execute(), strict=True)
            if not is_there
        ]
        self.accepted += len(accepted)
        self.lost += len(ages)
        self.oldest_s = max([self.oldest_s, *ages])
        self.newest_s = max([self.newest_s, *(-age for age in ages)])

    def __str__(self) -> str:
        return f"{self.lost:,} of {self.accepted:,}" + (
            f", up to {self.oldest_s:.2f} s old" if self.lost else ""
        )


def produce(server: Server, accepted: list[tuple[str, float]], replicas: int = 0) -> None:
    """Enqueue until the server is gone."""
    queue = Queue(client=server.client(), wait_replicas=replicas)
    try:
        while True:
            with contextlib.suppress(NotReplicated):
                job = queue.enqueue(handlers.record)
                accepted.append((job.id, time.monotonic()))
    except (redis.ConnectionError, ServerUnavailable, EnqueueUnknown):
        return


def produce_and_kill(
    server: Server, processes: list[int], replicas: int = 0
) -> tuple[list[tuple[str, float]], float]:
    """What was accepted until the processes were killed at a random moment, and that moment."""
    accepted: list[list[tuple[str, float]]] = [[] for _ in range(PRODUCERS)]
    threads = [threading.Thread(target=produce, args=(server, each, replicas)) for each in accepted]
    for thread in threads:
        thread.start()
    time.sleep(random.uniform(2.5, 4.5))
    kill(*processes)
    killed_at = time.monotonic()
    for thread in threads:
        thread.join()
    return [job for each in accepted for job in each], killed_at


def noting(home: Path, library: Path) -> dict[str, str]:
    """Variables of a server that notes its syncs in its home."""
    return {
        "LD_PRELOAD": str(library),
        "SYNC_NOTES": str(home / "syncs"),
        "SYNC_SLOW": str(home / "slow"),
    }


def logs_of(home: Path) -> list[Path]:
    """Its log, if it has one."""
    return list((home / "appendonlydir").glob("*.incr.aof"))


def cut_to_synced(home: Path, inode: int) -> None:
    """Leave of the log what was synced."""
    (log,), notes = logs_of(home), home / "syncs"
    noted = (
        [tuple(map(int, line.split())) for line in notes.read_text().splitlines()] if notes.exists() else []
    )
    os.truncate(log, max([0, *(size for of, size in noted if of == inode)]))


class Trial:
    """One setting on one kind of server."""

    def __init__(self, kind: Kind, setting: Setting, library: Path) -> None:
        self._kind = kind
        self._setting = setting
        self._library = library
        self.killed, self.power = Loss(), Loss()

    def round(self, home: Path) -> None:
        """Enqueue, kill, look, cut, look."""
        server, processes = self._begin(home, noting(home, self._library))
        if self._setting.is_slow:
            (home / "slow").touch()
        jobs, killed_at = produce_and_kill(server, processes)
        server.stop()
        assert server.socket is not None
        server.socket.unlink()
        copy = home.with_name(f"{home.name}-power")
        if logs := logs_of(home):
            shutil.copytree(home, copy)
            cut_to_synced(copy, logs[0].stat().st_ino)
        for left, loss in ((home, self.killed), (copy, self.power)):
            if left.exists():
                count = partial(loss.count, accepted=jobs, killed_at=killed_at)
                look(self._kind, left, self._setting.options, count)

    def _begin(self, home: Path, env: dict[str, str]) -> tuple[Server, list[int]]:
        """A server with these variables, and the processes to kill."""
        if not self._setting.is_embedded:
            server = start(self._kind, home, *self._setting.options, env=env)
            return server, [server.pid]
        os.environ.update(env)
        try:
            server = Server(self._kind, embedded.ensure(home))
        finally:
            for name in env:
                del os.environ[name]
        pid = server_of(home)
        return server, [keeper_of(pid), pid]


class TwinTrial:
    """A primary and its replica that lose power in the same moment, on one kind of server."""

    def __init__(self, kind: Kind, replicas: int, library: Path) -> None:
        self._kind = kind
        self._replicas = replicas
        self._library = library
        self.primary, self.replica = Loss(), Loss()

    def round(self, home: Path) -> None:
        """Enqueue, kill both, cut both, look at both."""
        port = str(free_port())
        one = self._begin(home / "one", "--bind", "127.0.0.1", "--port", port, *SYNC_AT_ONCE)
        other = self._begin(home / "other", "--replicaof", "127.0.0.1", port)
        try:
            wait_until(lambda: is_joined(other), description="the replica has joined")
            jobs, killed_at = produce_and_kill(one, [one.pid, other.pid], self._replicas)
        finally:
            one.stop()
            other.stop()
        for name, loss in (("one", self.primary), ("other", self.replica)):
            (log,) = logs_of(home / name)
            cut_to_synced(home / name, log.stat().st_ino)
            look(self._kind, home / name, EVERYSEC, partial(loss.count, accepted=jobs, killed_at=killed_at))

    def _begin(self, home: Path, *options: str) -> Server:
        home.mkdir()
        return start(self._kind, home, *EVERYSEC, *options, env=noting(home, self._library))


def is_joined(replica: Server) -> bool:
    """Whether it has what its primary has, and a log of its own."""
    info: Any = replica.client().info()
    return bool(info["master_link_status"] == "up" and not info["aof_rewrite_in_progress"])


def look(kind: Kind, home: Path, options: Sequence[str], count: Callable[[redis.Redis], None]) -> None:
    """Start it again with what is there, and count."""
    again = start(kind, home, *options)
    try:
        count(again.client())
    finally:
        again.stop()
        shutil.rmtree(home, ignore_errors=True)


def build(directory: Path) -> Path:
    """The library that notes each fdatasync."""
    source, library = directory / "syncs.c", directory / "syncs.so"
    source.write_text(NOTE_SYNCS)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def main() -> None:
    """Measure all settings on all servers, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.losses", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="kills for each setting and server (5)")
    parser.add_argument("--replica", action="store_true", help="a primary and its replica lose power")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redjobs-test-") as room:
        library = build(Path(room))
        homes = (Path(room) / f"round-{number}" for number in itertools.count())
        if said.replica:
            measure_twins(said.rounds, homes, library)
        else:
            measure(said.rounds, homes, library)


def measure(rounds: int, homes: Iterator[Path], library: Path) -> None:
    """All settings, on all servers."""
    print("| server | setting | its process is killed | power is lost |\n|---|---|---|---|", flush=True)
    for setting in SETTINGS:
        for kind in real_kinds()[:1] if setting.is_embedded else real_kinds():
            trial = Trial(kind, setting, library)
            for home in itertools.islice(homes, rounds):
                home.mkdir()
                trial.round(home)
            power = trial.power if trial.power.accepted else "the same"
            print(f"| {kind} | {setting.name} | {trial.killed} | {power} |", flush=True)


def measure_twins(rounds: int, homes: Iterator[Path], library: Path) -> None:
    """With and without waiting for the replica, on all servers."""
    print("| server | set | the primary is started | its replica is |\n|---|---|---|---|", flush=True)
    for replicas, name in ((0, "nothing"), (1, "`wait_replicas=1`")):
        for kind in real_kinds():
            trial = TwinTrial(kind, replicas, library)
            for home in itertools.islice(homes, rounds):
                home.mkdir()
                trial.round(home)
            print(f"| {kind} | {name} | {trial.primary} | {trial.replica} |", flush=True)


if __name__ == "__main__":
    main()
