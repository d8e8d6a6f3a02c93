"""The process behind `embedded://`: it runs one valkey-server for as long as somebody uses it.

Started by path (`python -I -S keeper.py ...`) by whoever needs the server first, in a session of
its own. It imports neither redjobs nor redis-py nor `site`: it must start fast and stay small. So
this file stands alone, and the rest of the package borrows `Line` and `state` from it.

Two locks (flock) hold the promise *never two servers on one directory*:

    keeper.lock   taken by the process that starts a keeper, and inherited by the keeper, so it is
                  never free in between. Free means: no keeper, and whoever finds it so starts one.
    server.lock   taken by the keeper, and inherited by valkey-server and the processes that it
                  forks. Free means: nobody writes the append-only file, even where the keeper was
                  killed and its server lives on.

A keeper lives as long as its server: when the server dies, the keeper ends, and the next client to
reconnect starts both anew. So a server that cannot run is reported to somebody who waits for it,
and not restarted for ever by nobody.
"""

# pathlib would add a third to this process's own memory.
# ruff: noqa: PTH100, PTH105, PTH116, PTH118, PTH123

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
import time

SOCKET = "redjobs.sock"
KEEPER_LOCK = "keeper.lock"
SERVER_LOCK = "server.lock"
LOG = "server.log"

UP, LOADING, DOWN = "up", "loading", "down"

ASK_TIMEOUT_S = 1.0
LOG_LIMIT_BYTES = 5_000_000
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 30.0
ORPHAN_TIMEOUT_S = 15.0
POLL_S = 1.0

CONFIG = (
    ("port", "0"),
    ("unixsocket", SOCKET),  # relative: it can be bound however deep the directory is
    ("unixsocketperm", "700"),
    ("dir", "."),
    ("daemonize", "no"),
    ("appendonly", "yes"),
    # With "everysec" the server puts off its writes, up to 2 s, while the disk is slow to sync, and
    # answers nevertheless: a kill loses what it had acknowledged. So it writes before each answer,
    # and the keeper does the syncing.
    ("appendfsync", "no"),
    ("aof-load-truncated", "yes"),  # a torn tail, after a power cut, is cut off and not fatal
    ("save", ""),
    ("maxmemory-policy", "noeviction"),
    ("always-show-logo", "no"),
)


class CannotServe(Exception):
    """Why there is no server, in words for the one who asked for it."""


class Line:
    """A connection to the server: enough of the protocol for PING, INFO and SHUTDOWN."""

    def __init__(self, path: str, timeout_s: float = ASK_TIMEOUT_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def ask(self, command: str) -> bytes:
        """The reply to an inline command, as it came; b"" when the server hung up."""
        self._socket.sendall(command.encode() + b"\r\n")
        reply = self._read_until(b"\r\n", b"")
        if not reply.startswith(b"$"):
            return reply
        head, _, body = reply.partition(b"\r\n")
        wanted = int(head[1:]) + 2
        while len(body) < wanted:
            more = self._socket.recv(65536)
            if not more:
                return b""
            body += more
        return body

    def _read_until(self, mark: bytes, data: bytes) -> bytes:
        while mark not in data:
            more = self._socket.recv(65536)
            if not more:
                return b""
            data += more
        return data


def fields(info: bytes) -> dict[str, str]:
    """The reply to INFO as a dict; empty when the server said something else, or nothing."""
    lines = info.decode(errors="replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def state(path: str) -> str:
    """Whether a server answers at this socket: UP, LOADING (its data) or DOWN."""
    try:
        with Line(path) as line:
            reply = line.ask("PING")
    except OSError:
        return DOWN
    if reply.startswith(b"-LOADING"):
        return LOADING
    # Anything else, like -BUSY or -MISCONF, is a server that is there and has something to say.
    return UP if reply else DOWN


def main(argv: list[str]) -> None:
    directory, binary, idle_s, lock = argv
    _leave_the_caller()
    keeper = _Keeper(directory, float(idle_s), int(lock))
    try:
        log = _open_log()
        keeper.start(binary, log)
    except (CannotServe, OSError) as error:
        _report(str(error))
        sys.exit(1)
    _report("ok")
    os.dup2(log, 2)
    os.close(log)
    keeper.keep()


def _leave_the_caller() -> None:
    """Become nobody's child, so that the one who started us need not reap us when we end."""
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)


def _report(text: str) -> None:
    """Answer the one who started us, and reads our standard error up to the zero byte."""
    # Whoever started us may be gone; others may need the server.
    with contextlib.suppress(OSError):
        os.write(2, text.encode(errors="replace") + b"\0")


class _Keeper:
    def __init__(self, directory: str, idle_s: float, keeper_lock: int) -> None:
        self._directory = directory
        self._idle_s = idle_s
        self._keeper_lock = keeper_lock
        self._stopping = False
        self._pid = 0
        self._exit: str | None = None
        os.set_inheritable(keeper_lock, False)
        os.chdir(directory)
        # A signal writes to this pipe, so that one `select` waits for signals and for time.
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, *_: object) -> None:
        self._stopping = True

    def start(self, binary: str, log: int) -> None:
        """Start the server and wait until it answers; raises CannotServe with its last words."""
        log_start = os.fstat(log).st_size
        lock = _take_server_lock()
        self._pid = _spawn(binary, lock, log)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(self._pid).encode(), 0)
        os.close(lock)
        deadline = time.monotonic() + START_TIMEOUT_S
        while (found := state(SOCKET)) != UP:
            self._wait(0.003)
            if self._exit:
                raise CannotServe(f"valkey-server {self._exit}.{_last_words(log_start)}")
            if found == LOADING:
                deadline = time.monotonic() + START_TIMEOUT_S
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                raise CannotServe(
                    f"valkey-server does not answer {START_TIMEOUT_S:.0f} s after its start."
                    f"{_last_words(log_start)}"
                )
        self._users = _Users()

    def keep(self) -> None:
        """Return when the server is gone: it died, was told to stop, or nobody needs it."""
        last_used = time.monotonic()
        synced = Synced("appendonlydir")
        while not self._exit:
            self._wait(min(POLL_S, self._idle_s / 4))
            if self._stopping:
                break
            synced.bring_up_to_date()
            if not self._directory_is_ours():
                os.kill(self._pid, signal.SIGKILL)  # its files are deleted: nothing to save
                break
            if self._users.any_since_last_time():
                last_used = time.monotonic()
            elif time.monotonic() - last_used >= self._idle_s:
                # At once, unlike SIGTERM, which would leave up to 100 ms for somebody to come.
                self._users.ask("SHUTDOWN")
                break
        self._stop()

    def _stop(self) -> None:
        """SIGTERM writes out the append-only file; what ignores that for long is killed."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        asked = signal.SIGTERM
        while not self._exit:
            os.kill(self._pid, asked)
            while not self._exit and time.monotonic() < deadline:
                self._wait(0.2)
            asked, deadline = signal.SIGKILL, deadline + STOP_TIMEOUT_S

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal comes or the time is over; notes the server's end."""
        if select.select([self._wake], [], [], seconds)[0]:
            os.read(self._wake, 4096)
        if self._exit is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._exit = _how_it_ended(status)

    def _directory_is_ours(self) -> bool:
        """False once DIR was deleted (or moved away): a server for its name is another one."""
        try:
            there = os.stat(os.path.join(self._directory, KEEPER_LOCK))
            os.stat(SOCKET)
        except OSError:
            return False
        ours = os.fstat(self._keeper_lock)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"


class Synced:
    """The append-only files on the disk: written by the server, synced by us, once a second."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._sizes: dict[str, int] = {}

    def bring_up_to_date(self) -> None:
        """Sync what was appended since the last call; a disk that fails ends us and the server."""
        with contextlib.suppress(FileNotFoundError):  # replaced by a shorter one
            for entry in os.scandir(self._directory):
                size = entry.stat().st_size
                if entry.name.endswith(".incr.aof") and self._sizes.get(entry.name) != size:
                    file = os.open(entry.path, os.O_RDONLY)
                    try:
                        os.fsync(file)
                    finally:
                        os.close(file)
                    self._sizes[entry.name] = size


class _Users:
    """Everybody who is connected to the server, but us."""

    def __init__(self) -> None:
        self._line: Line | None = Line(SOCKET)
        self._seen = -1

    def any_since_last_time(self) -> bool:
        """Whether somebody is connected, or was since the last call, however shortly."""
        info = self.ask("INFO clients stats")
        if "connected_clients" not in info:
            return True  # busy or dying: no time to stop it for idleness
        seen, self._seen = self._seen, int(info["total_connections_received"])
        return int(info["connected_clients"]) > 1 or self._seen != seen

    def ask(self, command: str) -> dict[str, str]:
        try:
            self._line = self._line or Line(SOCKET)
            return fields(self._line.ask(command))
        except (OSError, ValueError):
            # A reply that comes late must not be taken for the next one: begin anew.
            if self._line:
                self._line.close()
            self._line = None
            return {}


def _take_server_lock() -> int:
    """Lock out every other server; the server of a keeper that was killed is asked to stop."""
    lock = os.open(SERVER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + ORPHAN_TIMEOUT_S
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        if time.monotonic() > deadline:
            pid = os.pread(lock, 20, 0).decode(errors="replace")
            raise CannotServe(f"another valkey-server (process {pid}) is there and does not stop")
        with contextlib.suppress(OSError), Line(SOCKET) as line:
            line.ask("SHUTDOWN")
        time.sleep(0.01)


def _spawn(binary: str, lock: int, log: int) -> int:
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.set_inheritable(lock, True)
        _die_with(keeper)
        options = [word for name, value in CONFIG for word in (f"--{name}", value)]
        os.execv(binary, [binary, *options])
    except BaseException as error:  # noqa: BLE001 - a forked child must end here, whatever happens
        os.write(2, f"cannot run {binary}: {error}\n".encode())
    os._exit(127)


def _die_with(keeper: int) -> None:
    """Have Linux stop us when the keeper is killed, so that no server is left that nobody counts.

    Where that does not exist (macOS), the next keeper stops the server that was left.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG
    except (ImportError, OSError, AttributeError):
        return
    if os.getppid() != keeper:
        os._exit(1)


def _open_log() -> int:
    with contextlib.suppress(FileNotFoundError):
        if os.stat(LOG).st_size > LOG_LIMIT_BYTES:
            os.replace(LOG, f"{LOG}.1")
    return os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _last_words(log_start: int) -> str:
    with open(LOG, "rb") as log:
        log.seek(log_start)
        lines = log.read().decode(errors="replace").splitlines()[-8:]
    where = os.path.abspath(LOG)
    return f" The end of its log, {where}:\n" + "\n".join(f"  {line}" for line in lines)


if __name__ == "__main__":
    main(sys.argv[1:])
