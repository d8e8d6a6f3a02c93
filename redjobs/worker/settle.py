"""From what happened to the commands that say so: the only place that maps a decision to a transition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redjobs import commands
from redjobs.codec import Codec
from redjobs.commands import Command, Finished
from redjobs.current import CurrentJob
from redjobs.errors import PayloadError, Snooze
from redjobs.hooks import Hooks
from redjobs.ids import priority_of
from redjobs.jobs import JobError, append_error
from redjobs.keys import Keys
from redjobs.retry import (
    Cancelled,
    Complete,
    Completed,
    Decision,
    Discard,
    Failed,
    GiveBack,
    GiveUp,
    RunAgain,
    Unknown,
    Unreadable,
    Unrun,
    decide,
)
from redjobs.worker.work import Work


@dataclass(slots=True)
class Settlement:
    """A command, and the works whose fate it carries."""

    command: Command[Any]
    works: list[Work]


def decision_for(work: Work) -> Decision:
    """What to do with this work, which has an outcome."""
    outcome = work.outcome
    if outcome is None or (work.stops and isinstance(outcome, Failed)):
        outcome = work.outcome = Unrun()
    elif work.cancelled and isinstance(outcome, Failed):
        outcome = work.outcome = Cancelled()
    backoff = work.handler.backoff if work.handler else None
    return decide(outcome, work.claim.attempt, work.options, backoff)


def settle(works: Iterable[Work], keys_of: dict[str, Keys], codec: Codec) -> list[Settlement]:
    """The commands for works that are over; those of one claim complete together."""
    completed: dict[tuple[str, str, str], tuple[list[Finished], list[Work]]] = {}
    given_back: dict[tuple[str, str, str], list[Work]] = {}
    settlements: list[Settlement] = []
    for work in works:
        claim = work.claim
        of_claim = (claim.queue, claim.worker, claim.token)
        if isinstance(work.outcome, Completed) and claim.key is None and not work.options.result_ttl:
            finished: Finished | None = Finished(claim.id)
        else:
            finished = _settle_one(work, keys_of[claim.queue], codec, settlements)
        if finished is not None:
            group = completed.setdefault(of_claim, ([], []))
            group[0].append(finished)
            group[1].append(work)
        elif isinstance(work.decision, GiveBack):
            given_back.setdefault(of_claim, []).append(work)
    for (queue, worker, token), (jobs, done) in completed.items():
        settlements.append(Settlement(commands.complete(keys_of[queue], worker, token, jobs), done))
    for (queue, worker, token), back in given_back.items():
        # Together, and the oldest first: so they stand in their old order again.
        # One command per priority.
        for priority in {priority_of(work.claim.id) for work in back}:
            same = [work for work in back if priority_of(work.claim.id) == priority]
            ids = [work.claim.id for work in same]
            (command,) = commands.release(keys_of[queue], worker, token, ids)
            settlements.append(Settlement(command, same))
    return settlements


def _settle_one(work: Work, keys: Keys, codec: Codec, settlements: list[Settlement]) -> Finished | None:
    claim = work.claim
    work.decision = decision_for(work)
    match work.decision:
        case Complete(result, result_ttl_ms):
            try:
                packed = codec.encode(result) if result_ttl_ms else b""
            except Exception as error:  # noqa: BLE001 - what the result's own code raises when it is read
                # It did its work; running it again would do the work twice and fail the same way.
                said = error if isinstance(error, PayloadError) else f"encoding raised {type(error).__name__}"
                reason = JobError(round(_ms(work)), claim.attempt, f"PayloadError: {said}")
                work.outcome, work.decision = Unreadable(reason), GiveUp(reason)
                settlements.append(_bury(work, keys, reason))
                return None
            return Finished(claim.id, claim.key, result_ttl_ms, packed)
        case RunAgain(delay_ms, error, refund):
            errors = append_error(claim.errors, error, of_format=claim.format) if error else b""
            # What fails is counted as an attempt, and may be about to crash the next time.
            ended = refund and not isinstance(work.outcome, Unknown)
            command: Command[Any] = commands.retry(keys, claim, delay_ms, errors, refund=refund, ended=ended)
            settlements.append(Settlement(command, [work]))
        case GiveUp(error):
            settlements.append(_bury(work, keys, error))
        case Discard():
            settlements.append(Settlement(commands.discard(keys, claim), [work]))
        case GiveBack():
            pass
    return None


def _bury(work: Work, keys: Keys, error: JobError) -> Settlement:
    errors = append_error(work.claim.errors, error)
    return Settlement(commands.bury(keys, work.claim, errors), [work])


def _ms(work: Work) -> float:
    return work.claim.started_at_ms + (work.finished_at - work.started_at) * 1000


def learn(settlement: Settlement, reply: Any) -> None:
    """A job that was cancelled and ended before we heard of it is forgotten, and not planned again."""
    if reply == "discarded":
        for work in settlement.works:
            work.outcome, work.decision = Cancelled(), Discard()


def lost_works(settlement: Settlement, reply: Any) -> list[Work]:
    """The works of a settlement that another claim has by now."""
    if isinstance(reply, list):
        gone = set(reply)
        return [work for work in settlement.works if work.claim.id in gone]
    return list(settlement.works) if reply == "lost" else []


def fire_outcomes(hooks: Hooks, fire: Callable[..., None], works: Iterable[Work]) -> None:
    """Tell the hooks what is settled: success, error, dead."""
    if not (hooks.has("success") or hooks.has("error") or hooks.has("dead")):
        return
    for work in works:
        if isinstance(work.outcome, Completed):
            fire("success", CurrentJob(work), work.finished_at - work.started_at)
        elif isinstance(work.outcome, Failed) and not isinstance(work.outcome.exception, Snooze):
            fire("error", CurrentJob(work), work.outcome.exception)
        if isinstance(work.decision, GiveUp):
            fire("dead", CurrentJob(work), work.decision.error)
