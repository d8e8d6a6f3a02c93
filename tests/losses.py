"""What an accepted job survives, by the server's settings: `python -m tests.losses` prints a table.

Producers enqueue jobs one after the other while the server is killed (SIGKILL) at a random moment. It is
started again twice: with the files as they are, and with its log cut off where the last completed fdatasync
had it, which is the least that a loss of power leaves. A job is lost that `enqueue` had returned and that is
not there.

A library before libc's notes each sync, and makes it slow where that is wanted (needs a C compiler).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

from redjobs import EnqueueUnknown, Queue, ServerUnavailable, embedded
from tests.embedded_home import keeper_of, kill, server_of
from tests.servers import Kind, Server, real_kinds, start
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


SETTINGS = (
    Setting("no persistence", ()),
    Setting("snapshots (`save 1 1`)", ("--save", "1 1")),
    Setting("AOF, `no`", ("--appendonly", "yes", "--appendfsync", "no")),
    Setting("AOF, `everysec`", ("--appendonly", "yes", "--appendfsync", "everysec")),
    Setting(
        "AOF, `everysec`, a sync takes 3 s",
        ("--appendonly", "yes", "--appendfsync", "everysec"),
        is_slow=True,
    ),
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

    def __str__(self) -> str:
        return f"{self.lost:,} of {self.accepted:,}" + (
            f", up to {self.oldest_s:.2f} s old" if self.lost else ""
        )


def produce(server: Server, accepted: list[tuple[str, float]]) -> None:
    """Enqueue until the server is gone."""
    queue = Queue(client=server.client())
    try:
        while True:
            job = queue.enqueue(handlers.record)
            accepted.append((job.id, time.monotonic()))
    except (redis.ConnectionError, ServerUnavailable, EnqueueUnknown):
        return


def cut_to_synced(home: Path, notes: Path, inode: int) -> None:
    """Leave of the log what was synced."""
    (log,) = (home / "appendonlydir").glob("*.incr.aof")
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
        notes = home / "syncs"
        slow = home / "slow"
        env = {"LD_PRELOAD": str(self._library), "SYNC_NOTES": str(notes), "SYNC_SLOW": str(slow)}
        server, processes = self._begin(home, env)
        if self._setting.is_slow:
            slow.touch()
        accepted: list[list[tuple[str, float]]] = [[] for _ in range(PRODUCERS)]
        threads = [threading.Thread(target=produce, args=(server, each)) for each in accepted]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(2.5, 4.5))
        logs = list((home / "appendonlydir").glob("*.incr.aof"))
        kill(*processes)
        killed_at = time.monotonic()
        for thread in threads:
            thread.join()
        server.stop()
        jobs = [job for each in accepted for job in each]
        assert server.socket is not None
        server.socket.unlink()
        copy = home.with_name(f"{home.name}-power")
        if logs:
            shutil.copytree(home, copy)
            cut_to_synced(copy, notes, logs[0].stat().st_ino)
        self._look(home, lambda again: self.killed.count(again.client(), jobs, killed_at))
        if logs:
            self._look(copy, lambda again: self.power.count(again.client(), jobs, killed_at))

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

    def _look(self, home: Path, count: Callable[[Server], None]) -> None:
        again = start(self._kind, home, *self._setting.options)
        try:
            count(again)
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
    rounds = parser.parse_args().rounds
    print("| server | setting | its process is killed | power is lost |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="redjobs-test-") as room:
        library = build(Path(room))
        for setting in SETTINGS:
            for kind in real_kinds()[:1] if setting.is_embedded else real_kinds():
                trial = Trial(kind, setting, library)
                for number in range(rounds):
                    (home := Path(room) / f"round-{number}").mkdir()
                    trial.round(home)
                power = trial.power if trial.power.accepted else "the same"
                print(f"| {kind} | {setting.name} | {trial.killed} | {power} |", flush=True)


if __name__ == "__main__":
    main()
