"""One job, for people."""

from __future__ import annotations

from redjobs.cli.text import distance, local_time, printable, printable_lines, say
from redjobs.ids import is_id
from redjobs.jobs import KNOWN_FORMAT, Job, JobError, State

_WIDTH = 12


def show_job(job: Job, now_ms: int, secrets: dict[str, object]) -> None:
    """Print it; `secrets` are its arguments and its result, where somebody asked for them."""
    for label, value in _facts(job, now_ms):
        say(f"{label:<{_WIDTH}}{printable(value)}")
    if secrets:
        for label, value in secrets.items():
            say(f"{label:<{_WIDTH}}{printable(value if isinstance(value, str) else repr(value))}")
    else:
        say(f"{'arguments':<{_WIDTH}}hidden; --show-args shows them")
    for number, error in enumerate(job.errors, 1):
        say()
        _say_error(error, number, len(job.errors), now_ms)


def _facts(job: Job, now_ms: int) -> list[tuple[str, object]]:
    """What there is to say about it, in order."""
    options = job.options
    attempts = f" of {options.max_attempts}" if options.max_attempts else ""
    started = job.started_at_ms if job.state is State.PROCESSING else None
    facts: list[tuple[str, object]] = [
        ("id", job.id),
        ("queue", job.queue),
        ("name", job.name),
        ("state", job.state),
        ("key", job.key),
        ("priority", job.priority or None if is_id(job.id) else None),
        ("enqueued", _when(job.enqueued_at_ms, now_ms)),
        ("due", _when(job.run_at_ms, now_ms)),
        ("started", _when(started, now_ms)),
        ("worker", job.worker if job.state is State.PROCESSING else None),
        ("died" if job.state is State.DEAD else "completed", _when(job.ended_at_ms, now_ms)),
        ("attempt", f"{job.attempt}{attempts}"),
        ("crashes", job.crashes or None),
        ("timeout", options.timeout and f"{options.timeout} s"),
        ("backoff", options.backoff),
        ("result kept", options.result_ttl and f"{options.result_ttl} s"),
        (
            "format",
            f"{job.format}, newer than this redjobs, which knows {KNOWN_FORMAT}" if job.is_newer else None,
        ),
    ]
    return [(label, value) for label, value in facts if value is not None]


def _when(at_ms: int | None, now_ms: int) -> str | None:
    return None if at_ms is None else f"{local_time(at_ms)} ({distance(at_ms, now_ms)})"


def _say_error(error: JobError, number: int, count: int, now_ms: int) -> None:
    say(
        f"error {number} of {count}, attempt {printable(error.attempt)}, {local_time(error.at_ms)}", bold=True
    )
    say(f"  {printable(error.error)}")
    if error.traceback:
        say("\n".join(f"    {line}" for line in printable_lines(error.traceback).rstrip().split("\n")))
