"""How the demo opens its SQLite files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def transaction(path: Path, schema: str) -> Iterator[sqlite3.Connection]:
    """A connection of its own, so threads and processes may share the file; commits at the end."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = sqlite3.connect(path, timeout=10)
    try:
        database.executescript(schema)
        with database:
            yield database
    finally:
        database.close()
