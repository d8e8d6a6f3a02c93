"""Which files of the app have changed since the children imported them: for `--reload`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

_LOOK_SECONDS = 0.5


class FileWatch:
    """Modification times of files, looked at twice a second."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._look_at = 0.0

    def watch(self, files: Mapping[str, float]) -> None:
        """Look at these files, too, which had been changed then."""
        for name, changed_at in files.items():
            self._seen.setdefault(name, changed_at)

    def changed(self) -> bool:
        """Whether a file has changed since the last call."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_SECONDS
        seen = {name: last_change(name) for name in self._seen}
        changed = seen != self._seen
        self._seen = seen
        return changed


def last_change(name: str) -> float:
    """Unix time of a file's last change; 0 if it is gone."""
    try:
        return Path(name).stat().st_mtime
    except OSError:
        return 0.0
