"""What a server holds as text that people can read and compare, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from redjobs import Queue, State
from redjobs.inspector import Inspector
from redjobs.snapshots import job_as_dict
from tests.invariants import values_of

FILES = Path(__file__).parent

#: Numbers that are no further than this from the clock are moments.
_YEAR_MS = 365 * 86_400_000
#: Writing takes a while: moments are told in steps of this, downwards.
_STEP_MS = 10_000

#: By key: its kind and its value.
Content = dict[str, Any]


def files() -> list[Path]:
    """Those that there are, the oldest version first."""
    return sorted(FILES.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")])


def text_of(golden: Any) -> str:
    """What stands in a file."""
    return json.dumps(golden, indent=1, sort_keys=True) + "\n"


def now_ms(client: Any) -> int:
    """The server's clock."""
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


# To text and back -----------------------------------------------------------------------------


def dump(client: Any, base_ms: int) -> Content:
    """Everything that a server holds; `base_ms` is when it was begun."""

    def out(raw: bytes) -> str:
        if raw.isdigit() and abs(int(raw) - base_ms) < _YEAR_MS:
            return f"@{(int(raw) - base_ms) // _STEP_MS * _STEP_MS:+d}"
        return raw.decode("latin-1")

    def plain(kind: str, value: Any) -> Any:
        match kind:
            case "hash":
                return {out(name): out(item) for name, item in value.items()}
            case "zset":
                return {out(member): out(b"%d" % score) for member, score in value}
            case "list":
                return [out(item) for item in value]
            case "set":
                return sorted(out(item) for item in value)
            case _:
                return out(value)

    names = [key.decode() for key in client.scan_iter(count=1000)]
    return {name: {kind: plain(kind, value)} for name, kind, value, _ in values_of(client, names)}


def load(client: Any, content: Content, base_ms: int) -> None:
    """Put it into a server, as if it had been written at `base_ms`."""

    def back(text: str) -> bytes:
        return b"%d" % (base_ms + int(text[1:])) if text.startswith("@") else text.encode("latin-1")

    for name, of_kind in content.items():
        ((kind, value),) = of_kind.items()
        match kind:
            case "hash":
                client.hset(name, mapping={back(field): back(item) for field, item in value.items()})
            case "zset":
                client.zadd(name, {back(member): int(back(score)) for member, score in value.items()})
            case "list":
                client.rpush(name, *map(back, value))
            case "set":
                client.sadd(name, *map(back, value))
            case "string":
                client.set(name, back(value))
            case _:
                raise ValueError(f"{name} is a {kind}")


# How it is read -------------------------------------------------------------------------------

#: Moments differ from run to run, and of a job that is taken and not begun only lists know the state.
_NOT_TOLD = ("enqueued_at", "run_at", "started_at", "ended_at", "state")


def reading(queue: Queue, job_id: str) -> dict[str, Any]:
    """What this version makes of a job, its moments and its state aside."""
    job = queue.get(job_id)
    args, kwargs = queue.arguments(job)
    told = {name: value for name, value in job_as_dict(job).items() if name not in _NOT_TOLD}
    result = None if job.result_payload is None else repr(queue.result(job_id))
    return told | {"backoff": repr(job.options.backoff), "arguments": repr((args, kwargs)), "result": result}


def listing(client: Any) -> dict[str, dict[str, list[str]]]:
    """By queue and state: the jobs that stand there, in their order."""
    inspector = Inspector(client)
    return {
        name: {state.value: [job.id for job in inspector.jobs(name, state).jobs] for state in State}
        for name in inspector.queues()
    }
