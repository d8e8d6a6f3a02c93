"""What must hold in every state and for every call. `Broken` says which sentence does not."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from redjobs.keys import BELL
from tests import invariants
from tests.interleavings.calls import KEYS, NAMES, SETTLES, A, B, C, Call
from tests.interleavings.store import CLOCK, Store

JOBS = (A, B, C)
_LIVING = ("scheduled", "ready", "processing")
#: How a call moved the counters.
Counted = tuple[tuple[str, int], ...]
WORKERS = tuple(name for names in NAMES for name in names)


class Broken(AssertionError):
    """A promise that did not hold."""


class Fact(NamedTuple):
    """One job as the server holds it."""

    #: scheduled, ready, processing, dead, completed, or '' where it is nowhere.
    place: str
    #: In whose list it stands.
    owner: str
    token: str
    attempt: int
    crashes: int
    run_at: int
    #: The whole hash: whether a call has changed anything of it.
    fields: Any


class Rules:
    """Checks of states and calls, remembered by the states' numbers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.facts = functools.cache(self._facts)
        self.check_state = functools.cache(self._check_state)
        self.check_call = functools.cache(self._check_call)
        self.known = functools.cache(self._known)

    # One state -------------------------------------------------------------------------------

    def _facts(self, number: int) -> tuple[Fact, ...]:
        data = self._store.data(number)
        return tuple(_fact(data, job) for job in JOBS)

    def _known(self, number: int) -> tuple[frozenset[str], frozenset[str]]:
        """The workers with a lease, and those that are retired."""
        return (
            frozenset(name for name, _ in self._store.value(number, KEYS.workers)),
            frozenset(name for name, _ in self._store.value(number, KEYS.retired)),
        )

    def _check_state(self, number: int) -> None:
        contents = _contents(self._store.data(number))
        for rule in invariants._RULES:
            # Which lists will still be looked after, the model knows better.
            if rule is not invariants._workers_with_a_list_are_known and (found := rule(contents)):
                raise Broken("; ".join(found))
        if both := frozenset.intersection(*self.known(number)):
            raise Broken(f"{', '.join(both)} is retired and has a lease")

    # One call --------------------------------------------------------------------------------

    def _check_call(self, before: int, call: Call, after: int, counted: Counted) -> None:
        """Only who has a job changes it, nobody begins it before its time, and the counters add up."""
        leased, retired = self.known(before)
        clock_ms = int(self._store.value(before, CLOCK)) * 1000
        for job, old, new in zip(JOBS, self.facts(before), self.facts(after), strict=True):
            if old.place == "processing" and old != new and not _may(call, job, old, retired):
                raise Broken(f"{_say(call)} changed {job[1]}, which {old.owner} has")
            if new.token and new.token != old.token and new.run_at > clock_ms:
                raise Broken(f"{job[1]} was begun before its time")
            if call[0] in ("take", "begin") and old != new and call[1] not in leased and new.owner == call[1]:
                raise Broken(f"{call[1]} got {job[1]}, and has no lease")
            if call[0] == "begin" and new.token != old.token and 0 < call[4] <= old.crashes:
                raise Broken(f"{job[1]} is one crash from quarantine, and begun beside others")
        count = dict(counted)
        more = sum(count.get(name, 0) for name in ("enqueued", "requeued"))
        less = sum(count.get(name, 0) for name in ("completed", "dead", "cancelled"))
        if self._living(after) - self._living(before) != more - less:
            raise Broken(f"the counters of {_say(call)} do not add up: {count}")

    def _living(self, number: int) -> int:
        return sum(fact.place in _LIVING for fact in self.facts(number))

    # Sleep -----------------------------------------------------------------------------------

    def work_to_wake_for(self, number: int) -> float:
        """When the earliest job that nobody is told of is due, in ms: 0 now, inf for none."""
        if any(item != BELL for item in self._store.value(number, KEYS.list_of(5))):
            return 0.0
        scheduled = self._store.value(number, KEYS.scheduled)
        return float(scheduled[0][1]) if scheduled else float("inf")


def _fact(data: dict[str, Any], job: str) -> Fact:
    fields = dict(data[KEYS.job(job)])
    place, owner = "", ""
    for name in ("scheduled", "dead", "completed"):
        if any(member == job for member, _ in data[getattr(KEYS, name)]):
            place = name
    if job in data[KEYS.ready] or job in data[KEYS.list_of(5)]:
        place = "ready"
    for worker in WORKERS:
        if job in data[KEYS.processing(worker)]:
            place, owner = "processing", worker
    attempt, crashes, run_at = (int(fields.get(name, 0)) for name in ("attempt", "crashes", "run_at"))
    return Fact(place, owner, fields.get("token", ""), attempt, crashes, run_at, data[KEYS.job(job)])


def _may(call: Call, job: str, old: Fact, retired: frozenset[str]) -> bool:
    """Whether this call may change a job that a worker has."""
    verb = call[0]
    if verb == "recover":
        return call[1] == old.owner and call[2] == job and old.owner in retired
    if verb == "begin":
        return call[1] == old.owner and not old.token and job in call[3]
    if verb == "release" or verb in SETTLES:
        return bool(call[1:] == (old.owner, old.token, job))
    return False


def _say(call: Call) -> str:
    return f"{call[0]}({', '.join(map(str, call[1:]))})"


def _contents(data: dict[str, Any]) -> invariants.Contents:
    contents = invariants.Contents(KEYS)
    for job in JOBS:
        if fields := data[KEYS.job(job)]:
            contents.hashes[job] = {name: value.encode("latin-1") for name, value in fields}
    for name in ("scheduled", "levels", "workers", "retired", "dead", "completed"):
        contents.scores[name] = {member: float(score) for member, score in data[getattr(KEYS, name)]}
    contents.ready = {level: list(ids) for level in (0, 5) if (ids := data[KEYS.list_of(level)])}
    contents.processing = {name: list(ids) for name in WORKERS if (ids := data[KEYS.processing(name)])}
    contents.unique = {
        key.partition(":unique:")[2]: holder for key, holder in data.items() if ":unique:" in key and holder
    }
    return contents
