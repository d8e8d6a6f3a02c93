"""The people who signed up, and which mails they got: an ordinary SQLite database."""

from __future__ import annotations

import re
import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from redjobs.demo.database import transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE COLLATE NOCASE,
    token TEXT NOT NULL DEFAULT (lower(hex(randomblob(8)))),
    planned INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS sent (
    user_id INTEGER NOT NULL REFERENCES users,
    kind TEXT NOT NULL,
    PRIMARY KEY (user_id, kind)
);
"""

# No more than what keeps typing errors out: whether an address exists, only its mail tells.
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")


@dataclass(frozen=True, slots=True)
class User:
    id: int
    name: str
    email: str
    #: Random: ids begin anew when somebody deletes the file.
    token: str
    #: Whether the mails of this user have been enqueued.
    planned: bool

    @property
    def is_slow(self) -> bool:
        """Whether mail to this address takes its time, so that one can watch it."""
        return self.email.lower().startswith("slow+")


def clean_address(text: str) -> str | None:
    """The address that was typed; None where it cannot be one."""
    text = text.strip()
    if len(text) > 254 or ".." in text or not _ADDRESS.fullmatch(text):
        return None
    return text


def clean_name(text: str) -> str:
    """One line of at most 60 characters; a name goes into a mail's header."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:60]


class Users:
    """The database. Each call has its own connection, so threads and processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self.path, _SCHEMA)

    def add(self, name: str, email: str) -> User:
        """The user with this address: a new one, or the one that is there."""
        with self._transaction() as database:
            database.execute(
                "INSERT INTO users (name, email) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, email)
            )
            row = database.execute(f"{_SELECT} WHERE email = ?", (email,)).fetchone()
        return _user(row)

    def get(self, user_id: int) -> User | None:
        """One user."""
        with self._transaction() as database:
            row = database.execute(f"{_SELECT} WHERE id = ?", (user_id,)).fetchone()
        return _user(row) if row else None

    def newest(self, limit: int) -> list[User]:
        """Those who signed up last, newest first."""
        if not self.path.exists():
            return []
        with self._transaction() as database:
            rows = database.execute(f"{_SELECT} ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
        return [_user(row) for row in rows]

    def mark_planned(self, user_id: int) -> None:
        """Their mails are enqueued."""
        with self._transaction() as database:
            database.execute("UPDATE users SET planned = 1 WHERE id = ?", (user_id,))

    def was_sent(self, user_id: int, kind: str) -> bool:
        """Whether they got this mail."""
        with self._transaction() as database:
            found = database.execute(
                "SELECT 1 FROM sent WHERE user_id = ? AND kind = ?", (user_id, kind)
            ).fetchone()
        return found is not None

    def mark_sent(self, user_id: int, kind: str) -> None:
        """They got this mail. Saying so twice is harmless."""
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO sent (user_id, kind) VALUES (?, ?)", (user_id, kind))


_SELECT = "SELECT id, name, email, token, planned FROM users"


def _user(row: tuple[int, str, str, str, int]) -> User:
    user_id, name, email, token, planned = row
    return User(user_id, name, email, token, bool(planned))
