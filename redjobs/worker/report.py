"""What a worker says: one line per job, and one when the server goes and when it is back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import groupby

from redjobs.clock import format_duration
from redjobs.retry import Completed, Discard, Failed, GiveUp, RunAgain, Unrun, is_signal
from redjobs.worker.logs import Facts, sole_console
from redjobs.worker.work import Work

logger = logging.getLogger("redjobs.worker")


def jobs(works: Iterable[Work]) -> None:
    """A line for each job that is settled. Arguments are never among what it says."""
    console = sole_console(logger) if logger.isEnabledFor(logging.INFO) else None
    for completed, some in groupby(works, lambda work: isinstance(work.outcome, Completed)):
        if completed and console is not None:
            together = list(some)
            lines = (f"done {_line(work)}" for work in together)
            console.write_all(logger.name, lines, (_facts(work, "done") for work in together))
            continue
        for work in some:
            if completed:
                _say(logging.INFO, work, "done")
            else:
                _not_done(work)


def _not_done(work: Work) -> None:
    decision = work.decision
    match decision:
        case GiveUp(error):
            _say(logging.ERROR, work, "dead", f": {error.error}")
        case RunAgain(delay_ms, error, refund):
            again = f" in {format_duration(delay_ms / 1000)}" + (f": {error.error}" if error else "")
            asked = isinstance(work.outcome, Failed) and is_signal(work.outcome.exception)
            if refund and asked:
                _say(logging.INFO, work, "snoozed", again)
            else:
                _say(logging.WARNING, work, "again", again)
        case Discard():
            _say(logging.INFO, work, "cancelled")
        case _:
            level = logging.DEBUG if isinstance(work.outcome, Unrun) else logging.WARNING
            _say(level, work, "gave back")


def _say(level: int, work: Work, what: str, more: str = "") -> None:
    if logger.isEnabledFor(level):
        logger.log(level, "%s %s%s", what, _line(work), more, extra={"facts": _facts(work, what)})


def _facts(work: Work, what: str) -> Facts:
    """The same for machines."""
    claim = work.claim
    took_ms = round((work.finished_at - work.started_at) * 1000) if work.started_at else None
    return {
        "event": what,
        "job_id": claim.id,
        "name": claim.name,
        "queue": claim.queue,
        "attempt": claim.attempt,
        "took_ms": took_ms,
        "late_ms": claim.started_at_ms - claim.run_at_ms,
    }


def _line(work: Work) -> str:
    claim = work.claim
    late_ms = claim.started_at_ms - claim.run_at_ms
    took_ms = (work.finished_at - work.started_at) * 1000
    # Most are shorter than a second: then this costs a third of what `format_duration` does.
    took = f"{round(took_ms)} ms" if took_ms < 999 else format_duration(took_ms / 1000)
    late = f"{late_ms} ms" if 0 <= late_ms < 999 else format_duration(late_ms / 1000)
    return (
        f"{claim.name} {claim.id} queue={claim.queue} attempt={claim.attempt}"
        f" took={took if work.started_at else 'not started'} late={late}"
    )


def lost(works: Iterable[Work]) -> None:
    """These jobs another worker has by now: ours changed nothing."""
    for work in works:
        logger.warning(
            "lost %s: the lease had run out and another worker has the job; what this one did to"
            " it is not recorded",
            _line(work),
        )


def dropped(queue: str, ids: Iterable[str]) -> None:
    """Ids without a hash: somebody deleted the job by hand, or the server evicted it."""
    for job_id in ids:
        logger.error(
            "dropped id %s of queue %s: its job is not there; was it deleted by hand, or is the"
            " server's maxmemory-policy not noeviction?",
            job_id,
            queue,
        )
