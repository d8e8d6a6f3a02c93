"""The directory of an embedded server: its files, its socket's address and its locks."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from redjobs.embedded.keeper import KEEPER_LOCK, LOG, SERVER_LOCK, SOCKET
from redjobs.errors import ServerUnavailable

# The address of a unix socket holds 104 bytes on macOS and 108 on Linux, one of them a zero.
_LONGEST_ADDRESS = 103


@dataclass(frozen=True, slots=True)
class Home:
    directory: Path
    """Absolute and without symlinks, so that all spellings of one directory are equal."""

    @classmethod
    def of(cls, directory: str | Path) -> Home:
        return cls(Path(directory).expanduser().resolve())

    @property
    def keeper_lock(self) -> Path:
        return self.directory / KEEPER_LOCK

    @property
    def server_lock(self) -> Path:
        return self.directory / SERVER_LOCK

    @property
    def log(self) -> Path:
        return self.directory / LOG

    def create(self) -> None:
        """Make the directory, for its owner alone, and keep it out of version control."""
        if self.keeper_lock.exists():
            return
        existed = self.directory.is_dir()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not existed:
            (self.directory / ".gitignore").write_text("*\n", encoding="ascii")

    def socket(self) -> Path:
        """Where to connect; for a directory that is too deep, a short way to the same socket."""
        direct = self.directory / SOCKET
        if len(os.fsencode(direct)) <= _LONGEST_ADDRESS:
            return direct
        return self._short_way() / SOCKET

    def _short_way(self) -> Path:
        # A link, made by each user for himself, and not another place for the socket: two
        # processes whose /tmp differ (containers, systemd's PrivateTmp) still share one server.
        room = Path("/tmp") / f"redjobs-{os.getuid()}"
        room.mkdir(mode=0o700, exist_ok=True)
        found = room.lstat()
        # Anybody may write to /tmp: whoever else made this directory could lead us anywhere.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise ServerUnavailable(f"{room} must be a directory of mine alone (mode 0700)")
        link = room / hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        with contextlib.suppress(FileExistsError):
            link.symlink_to(self.directory)
        return link

    def is_held(self) -> bool:
        """Whether a keeper or a server of this directory is alive."""
        for path in (self.keeper_lock, self.server_lock):
            try:
                lock = try_lock(path, shared=True)
            except FileNotFoundError:
                continue
            if lock is None:
                return True
            release(lock)
        return False


# A lock belongs to all copies of its descriptor. A process that another thread forks just while we
# hold one would keep it for as long as it lives; so a fork waits until the set is complete, and the
# child closes its copies.
_held: set[int] = set()
_held_lock = threading.Lock()


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A locked descriptor of this file; None when somebody else has it. `release` it."""
    flags = os.O_RDWR if shared else os.O_RDWR | os.O_CREAT
    with _held_lock:
        descriptor = os.open(path, flags, 0o600)
        _held.add(descriptor)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        # The file may have been deleted before we locked it: others will lock the new one.
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        release(descriptor)
        raise
    release(descriptor)
    return None


def release(descriptor: int) -> None:
    """Close our copy; the lock stays with a keeper that has inherited it."""
    with _held_lock:
        _held.discard(descriptor)
        os.close(descriptor)


def _close_copies() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
    _held_lock.release()


os.register_at_fork(
    before=_held_lock.acquire,
    after_in_parent=_held_lock.release,
    after_in_child=_close_copies,
)
