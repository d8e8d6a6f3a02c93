"""The harness's end of a producer process (`agent`)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Requests that not every peer can answer, in words.
_IN_WORDS = {
    "enqueue_many": "enqueue many at once",
    "together": "enqueue from coroutines",
    "threads": "enqueue from threads",
}


class NotOffered(Exception):
    """The peer has no such operation."""


class ProducerFailed(Exception):
    """The producer could not do what it was told."""


class Producer:
    """A producer process; `ask` waits for its answer."""

    def __init__(self, command: Sequence[str], env: dict[str, str], home: Path) -> None:
        self._log = home / "producer.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                cwd=home,
            )
        self._heard = b""

    def ask(self, do: str, *, limit: float = 300.0, **told: Any) -> Any:
        """The answer. Raises NotOffered, and ProducerFailed with what it said last."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **told}).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("it has ended") from None
        answer = json.loads(self._line(time.monotonic() + limit))
        if answer.get("missing"):
            raise NotOffered(_IN_WORDS.get(do, do))
        if "error" in answer:
            raise self._failed(str(answer["error"]))
        return answer["answer"]

    def _line(self, until: float) -> bytes:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            readable, _, _ = select.select([fd], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise self._failed("no answer in time")
            part = os.read(fd, 1 << 20)
            if not part:
                raise self._failed("it has ended")
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def _failed(self, why: str) -> ProducerFailed:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return ProducerFailed(f"producer: {why}" + "".join(f" | {line[-160:]}" for line in lines[-2:]))

    def close(self) -> None:
        """Let it end; after a moment without patience."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
