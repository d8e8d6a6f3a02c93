"""What a worker says: one line per job, and one when the server goes and when it is back."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from redjobs.clock import format_duration
from redjobs.retry import Completed, Discard, Failed, GiveUp, RunAgain, Unrun, is_signal
from redjobs.worker.work import Work

logger = logging.getLogger("redjobs.worker")


def jobs(works: Iterable[Work]) -> None:
    """A line for each job that is settled. Arguments are never among what it says."""
    for work in works:
        if isinstance(work.outcome, Completed):
            if logger.isEnabledFor(logging.INFO):
                logger.info("done %s", _line(work))
        else:
            _not_done(work)


def _not_done(work: Work) -> None:
    decision, line = work.decision, _line(work)
    match decision:
        case GiveUp(error):
            logger.error("dead %s: %s", line, error.error)
        case RunAgain(delay_ms, error, refund):
            again = format_duration(delay_ms / 1000)
            reason = f": {error.error}" if error else ""
            asked = isinstance(work.outcome, Failed) and is_signal(work.outcome.exception)
            level = logging.INFO if refund and asked else logging.WARNING
            verb = "snoozed" if refund and asked else "again"
            logger.log(level, "%s %s in %s%s", verb, line, again, reason)
        case Discard():
            logger.info("cancelled %s", line)
        case _:
            if not isinstance(work.outcome, Unrun):
                logger.warning("gave back %s", line)
            else:
                logger.debug("gave back %s", line)


def _line(work: Work) -> str:
    claim = work.claim
    late = claim.started_at_ms - claim.run_at_ms
    took = format_duration(work.finished_at - work.started_at) if work.started_at else "not started"
    return (
        f"{claim.name} {claim.id} queue={claim.queue} attempt={claim.attempt}"
        f" took={took} late={format_duration(late / 1000)}"
    ).replace("= ", "=")


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
