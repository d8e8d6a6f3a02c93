"""What the jobs of these tests wrote down: one line per event, appended whole, whoever dies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import wait_until

#: The environment variable that names the file.
RUNS = "REDJOBS_TEST_RUNS"


@dataclass(frozen=True)
class Line:
    """One event of one job."""

    word: str
    job_id: str
    attempt: int
    pid: int
    text: str


def write(path: Path, word: str, job_id: str, attempt: int, pid: int, text: str) -> None:
    """Append one line in one call of the system."""
    line = f"{word} {job_id} {attempt} {pid} {text}\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


class Runs:
    """The file, read anew at each question."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self, word: str | None = None, text: object = None, job_id: str | None = None) -> list[Line]:
        """The events of this kind, in the order in which they happened."""
        found = []
        # A reader may see a line of which the system has written only a part.
        whole = self.path.read_text().rpartition("\n")[0]
        for line in whole.splitlines():
            said, id_, attempt, pid, about = line.split(" ", 4)
            if word in (None, said) and text in (None, about) and job_id in (None, id_):
                found.append(Line(said, id_, int(attempt), int(pid), about))
        return found

    def texts(self, word: str = "end") -> list[str]:
        """What the events of this kind were about."""
        return [line.text for line in self.lines(word)]

    def count(self, word: str, text: object = None, job_id: str | None = None) -> int:
        """How many there were."""
        return len(self.lines(word, text, job_id))

    def wait(
        self,
        word: str,
        text: object = None,
        *,
        times: int = 1,
        job_id: str | None = None,
        timeout: float = 10.0,
    ) -> list[Line]:
        """Wait until this has happened so many times; these events."""
        about = " ".join(str(part) for part in (word, text, job_id) if part is not None)
        wait_until(
            lambda: self.count(word, text, job_id) >= times,
            timeout,
            f"{times} times {about!r} in\n{self.path.read_text()}",
        )
        return self.lines(word, text, job_id)
