"""What a supervisor does behind a child that died: its jobs go on at once, and not after the lease."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.commands import Command
from redjobs.errors import JobTimeout
from redjobs.jobs import JobError, append_error
from redjobs.keys import Keys
from redjobs.retry import Discard, GiveUp, RunAgain
from redjobs.worker import report
from redjobs.worker.brood import Child
from redjobs.worker.link import Link
from redjobs.worker.logs import counted
from redjobs.worker.slots import BURY, Running
from redjobs.worker.work import Work

logger = logging.getLogger("redjobs.worker")

#: The server may notice only now that the child is gone, and may have given it one job more.
_AGAIN_SECONDS = (0.0, 0.3, 1.0)
#: After the server refused something of it, a wreck is left alone for so long.
_REFUSED_SECONDS = 2.0
#: So many jobs that were running are named in the log.
_NAMED = 5


@dataclass(slots=True)
class Wreck:
    """A dead child's lists, and what was running."""

    lanes: list[tuple[Keys, str]]
    running: dict[str, Running]
    overran: list[Running]
    obituary: str
    last_words: str
    charge: bool
    #: When to look at its lists, and again.
    look_at: list[float] = field(default_factory=list)
    #: Those that this look has not come to yet.
    left: deque[tuple[Keys, str]] = field(default_factory=deque)
    #: What the server refused in this look, if anything.
    refusal: ResponseError | None = None


class Salvage:
    """The wrecks that are not cleared up yet; an outage of the server only delays them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._wrecks: list[Wreck] = []

    def add(self, child: Child, running: list[Running], *, charge: bool) -> None:
        """Clear up behind this child. `charge`: what was running there counts as crashed."""
        now = time.monotonic()
        self._wrecks.append(
            Wreck(
                lanes=list(child.lanes),
                running={job.job_id: job for job in running},
                overran=child.overran,
                obituary=child.obituary(),
                last_words=child.last_words(),
                charge=charge,
                look_at=[now + seconds for seconds in _AGAIN_SECONDS],
            )
        )

    @property
    def next_at(self) -> float:
        """Monotonic time when there is something to do."""
        return min((wreck.look_at[0] for wreck in self._wrecks), default=float("inf"))

    def step(self, until: float) -> int:
        """Clear up what is due, until this monotonic time: the next call goes on where this one stopped.

        Returns how many jobs were recovered. Raises redis-py's errors.
        """
        recovered = 0
        refusal: ResponseError | None = None
        due = time.monotonic()
        # First who waits longest, or was left halfway.
        for wreck in sorted(self._wrecks, key=lambda each: each.look_at[0]):
            if wreck.look_at[0] > due:
                break
            recovered += self._look(wreck, until)
            if wreck.left:
                break
            refusal = wreck.refusal or refusal
            if wreck.refusal is None:
                wreck.look_at.pop(0)
            else:
                wreck.look_at[0], wreck.refusal = time.monotonic() + _REFUSED_SECONDS, None
            if not wreck.look_at:
                self._wrecks.remove(wreck)
        if refusal is not None:
            raise refusal
        return recovered

    def _look(self, wreck: Wreck, until: float) -> int:
        """Look at its lists, or at those that are left of them."""
        recovered = 0
        wreck.left = wreck.left or deque(wreck.lanes)
        while wreck.left and time.monotonic() < until:
            try:
                recovered += self._recover(wreck, *wreck.left[0])
            except ResponseError as error:  # the other queues' jobs do not wait for this one's
                wreck.refusal = error
            wreck.left.popleft()
        return recovered

    def _recover(self, wreck: Wreck, keys: Keys, worker: str) -> int:
        ids: list[str] = self._run(commands.listed(keys, worker))[::-1]
        for overran in wreck.overran:
            if overran.job_id in ids:
                self._settle_overran(overran, keys, worker)
                ids.remove(overran.job_id)
        self._run(commands.retire(keys, worker, clean=False))
        charged = [job_id for job_id in ids if wreck.charge and job_id in wreck.running]
        histories = {job_id: self._history(wreck, keys, job_id) for job_id in charged}
        total = 0
        for command in commands.recover(
            keys,
            worker,
            ids,
            charge=lambda job_id: job_id in histories,
            errors=lambda job_id: histories.get(job_id, b""),
        ):
            recovered, _ = self._run(command)
            total += recovered
        if total:
            ran = f"; it was running {', '.join(charged[:_NAMED])}" if charged else ""
            more = f" and {len(charged) - _NAMED} more" if len(charged) > _NAMED else ""
            what = counted(total, "job")
            logger.warning("recovered %s of queue %s from a dead child%s%s", what, keys.queue, ran, more)
        return total

    def _history(self, wreck: Wreck, keys: Keys, job_id: str) -> bytes:
        raw: dict[bytes, bytes] = self._run(commands.fields(keys, job_id))
        attempt = int(raw.get(b"attempt", b"0"))
        text = f"WorkerCrashed: {wreck.obituary}"
        error = JobError(round(time.time() * 1000), attempt, text, wreck.last_words)
        return append_error(raw.get(b"errors", b""), error)

    def _settle_overran(self, overran: Running, keys: Keys, worker: str) -> None:
        """The job that ignored its timeout has failed, and that is all that happens to it."""
        raw: dict[bytes, bytes] = self._run(commands.fields(keys, overran.job_id))
        if b"token" not in raw:
            return
        claim = commands.claim_from_fields(overran.job_id, keys.queue, worker, raw)
        ran = time.monotonic() - overran.started_at
        text = f"{JobTimeout.__name__}: ignored its timeout and was killed after {ran:.1f} s"
        error = JobError(round(time.time() * 1000), claim.attempt, text)
        work = Work(claim)
        work.started_at, work.finished_at = overran.started_at, overran.started_at + ran
        errors = append_error(claim.errors, error)
        if overran.delay_ms == BURY:
            work.decision = GiveUp(error)
            word = self._run(commands.bury(keys, claim, errors))
        else:
            work.decision = RunAgain(overran.delay_ms, error)
            word = self._run(commands.retry(keys, claim, overran.delay_ms, errors, ended=False))
        if word == "discarded":  # somebody wanted it stopped
            work.decision = Discard()
        if word != "lost":
            report.jobs([work])

    def _run(self, command: Command[Any]) -> Any:
        return self._link.run(command)
