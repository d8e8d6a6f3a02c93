"""What must be true of the data in Redis, whatever happened: read anew from every key.

A live id stands in exactly one of scheduled, ready, processing, dead and completed; nothing is
left over, and no two facts disagree.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import redis

from redjobs.ids import is_id, priority_of
from redjobs.keys import BELL, Keys, queues_key

_NAME = r"[A-Za-z0-9_.-]{1,64}"
_KEY = re.compile(rf"({_NAME}):(?:queues|\{{({_NAME}(?:/\d+)?)\}}:(.+))", re.DOTALL)

ZSETS = ("scheduled", "levels", "workers", "retired", "dead", "completed", "cancels")
_LIVE = ("scheduled", "ready", "processing")


@dataclass
class Contents:
    """Everything that one queue has in Redis."""

    keys: Keys
    hashes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    #: Hashes with a time to live.
    fading: set[str] = field(default_factory=set)
    #: By name, those of `ZSETS`.
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    stats: dict[str, int] = field(default_factory=dict)
    #: By priority, and by worker; bells included.
    ready: dict[int, list[str]] = field(default_factory=dict)
    processing: dict[str, list[str]] = field(default_factory=dict)
    unique: dict[str, str] = field(default_factory=dict)

    def places(self) -> dict[str, list[str]]:
        """Each id and all the places where it stands."""
        found: dict[str, list[str]] = {}
        for place in ("scheduled", "dead", "completed"):
            for job_id in self.scores.get(place, {}):
                found.setdefault(job_id, []).append(place)
        for lists, place in ((self.ready, "ready"), (self.processing, "processing")):
            for ids in lists.values():
                for job_id in ids:
                    if job_id != BELL:
                        found.setdefault(job_id, []).append(place)
        return found


def check(client: redis.Redis) -> None:
    """AssertionError that lists everything wrong in what this server holds."""
    found = violations(client)
    assert not found, "the data in Redis breaks its invariants:\n  " + "\n  ".join(found)


def violations(client: redis.Redis) -> list[str]:
    """Everything wrong in what this server holds, as sentences."""
    queues, found = read(client)
    return found + [text for contents in queues for text in broken_rules(contents)]


def broken_rules(contents: Contents) -> list[str]:
    """What is wrong in one queue, as sentences."""
    return [f"{contents.keys.queue}: {text}" for rule in _RULES for text in rule(contents)]


def read(client: redis.Redis) -> tuple[list[Contents], list[str]]:
    """The contents of every queue on a server, and what is wrong with keys as such."""
    names = sorted(key.decode() for key in client.scan_iter(count=1000))
    queues: dict[tuple[str, str], Contents] = {}
    wrong = []
    for name, kind, value, ttl in values_of(client, names):
        match = _KEY.fullmatch(name)
        if match is None:
            wrong.append(f"no key has a name like {name!r}")
            continue
        prefix, queue, rest = match.groups()
        if queue is None:
            if kind != "set" or name != queues_key(prefix):
                wrong.append(f"{name} is a {kind}")
            continue
        contents = queues.setdefault((prefix, queue), Contents(Keys(queue, prefix)))
        if problem := _file(contents, rest, kind, value, ttl):
            wrong.append(f"{name} {problem}")
    return list(queues.values()), wrong


def values_of(client: redis.Redis, names: list[str]) -> list[tuple[str, str, Any, int]]:
    """Name, kind, value and milliseconds to live of these keys."""
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.type(name)
    kinds = [kind.decode() for kind in pipe.execute()]
    readers: dict[str, Any] = {
        "hash": pipe.hgetall,
        "zset": lambda name: pipe.zrange(name, 0, -1, withscores=True),
        "list": lambda name: pipe.lrange(name, 0, -1),
        "string": pipe.get,
        "set": pipe.smembers,
    }
    for name, kind in zip(names, kinds, strict=True):
        readers[kind](name)
    hashes = [name for name, kind in zip(names, kinds, strict=True) if kind == "hash"]
    for name in hashes:
        pipe.pttl(name)
    told = pipe.execute()
    values, ttls = told[: len(names)], dict(zip(hashes, told[len(names) :], strict=True))
    return [
        (name, kind, value, ttls.get(name, -1))
        for name, kind, value in zip(names, kinds, values, strict=True)
    ]


def _file(contents: Contents, rest: str, kind: str, value: Any, ttl: int) -> str:
    """Put one key's value where it belongs. Returns what is wrong with it, or ''."""
    family, _, name = rest.partition(":")
    match kind:
        case "zset" if rest in ZSETS:
            contents.scores[rest] = {member.decode(): score for member, score in value}
        case "list" if rest == "ready" or (family == "ready" and re.fullmatch(r"-?[1-9]\d*", name)):
            contents.ready[int(name or "0")] = [item.decode() for item in value]
        case "list" if family == "processing" and re.fullmatch(_NAME, name):
            contents.processing[name] = [item.decode() for item in value]
        case "string" if family == "unique" and name:
            contents.unique[name] = value.decode()
        case "hash" if family == "job" and name:
            contents.hashes[name] = {field.decode(): item for field, item in value.items()}
            contents.fading |= {name} if ttl >= 0 else set()
        case "hash" if rest == "stats":
            contents.stats = {field.decode(): int(item) for field, item in value.items()}
        case _:
            return f"has no place in keys.py as a {kind}"
    return ""


# Each rule reads like the sentence of DESIGN that it checks -----------------------------------


def _each_id_stands_in_one_place(contents: Contents) -> list[str]:
    return [
        f"job {job_id} stands in {' and in '.join(places)}"
        for job_id, places in contents.places().items()
        if len(places) > 1
    ]


def _each_id_has_a_hash_and_each_hash_a_place(contents: Contents) -> list[str]:
    places = contents.places()
    without = [f"job {i} stands in {places[i][0]} without a hash" for i in places.keys() - contents.hashes]
    placeless = contents.hashes.keys() - places - contents.fading
    nameless = [i for i, fields in contents.hashes.items() if not fields.keys() >= {"name", "enqueued_at"}]
    return [
        *without,
        *(f"job {i} is in no place, and its hash would stay for ever" for i in placeless),
        *(f"job {i} has no name or no time" for i in nameless),
    ]


def _a_token_means_begun_by_the_worker_that_has_it(contents: Contents) -> list[str]:
    owner = {job_id: worker for worker, ids in contents.processing.items() for job_id in ids}
    found = []
    for job_id, fields in contents.hashes.items():
        begun = {"token", "worker"} & fields.keys()
        if begun and job_id not in owner:
            found.append(f"job {job_id} has a {begun.pop()} and no worker has it")
        elif begun and (len(begun) < 2 or not fields.keys() >= {"started_at", "attempt"}):
            found.append(f"job {job_id} is only half begun: {sorted(fields)}")
        elif begun and fields["worker"].decode() != owner[job_id]:
            found.append(f"job {job_id} names another worker than {owner[job_id]}, which has it")
        elif "started_at" in fields and not begun and "completed_at" not in fields:
            found.append(f"job {job_id} has started_at and is not begun")
        if int(fields.get("attempt", 0)) < (1 if begun else 0):
            found.append(f"job {job_id} is at attempt {fields.get('attempt')!r}")
    return found


def _workers_with_a_list_are_known(contents: Contents) -> list[str]:
    workers, retired = contents.scores.get("workers", {}), contents.scores.get("retired", {})
    unknown = contents.processing.keys() - {*workers, *retired}
    both = workers.keys() & retired.keys()
    return [
        *(f"worker {worker} has a list and is not known" for worker in unknown),
        *(f"worker {worker} is retired and has a lease" for worker in both),
    ]


def _levels_name_all_lists_with_jobs(contents: Contents) -> list[str]:
    # A level may be named whose list has just become empty: `take` tidies it up.
    levels = contents.scores.get("levels", {})
    unnamed = {str(priority) for priority in contents.ready if priority} - levels.keys()
    return [
        *(f"ready:{priority} holds jobs and levels does not name it" for priority in unnamed),
        *(f"level {name} has the score {score}" for name, score in levels.items() if int(name) != score),
    ]


def _each_list_holds_jobs_of_its_priority(contents: Contents) -> list[str]:
    return [
        f"job {job_id} stands in the list of priority {priority}"
        for priority, ids in contents.ready.items()
        for job_id in ids
        if job_id != BELL and priority_of(job_id) != priority
    ]


def _bells_lie_where_they_wake_somebody(contents: Contents) -> list[str]:
    counts = Counter({priority: ids.count(BELL) for priority, ids in contents.ready.items()})
    return [
        f"{count} bells in ready:{priority}"
        for priority, count in counts.items()
        if count > (1 if priority == 0 else 0)
    ] + [
        f"a bell in {place}"
        for place in ("scheduled", "dead", "completed")
        if BELL in contents.scores.get(place, {})
    ]


def _unique_keys_and_live_jobs_point_at_each_other(contents: Contents) -> list[str]:
    places = contents.places()
    wanted = {
        fields["key"].decode(): job_id
        for job_id, fields in contents.hashes.items()
        if "key" in fields and places.get(job_id, [""])[0] in _LIVE
    }
    return [
        f"unique key {key!r} points at {contents.unique.get(key)}, and {wanted.get(key)} is the job"
        for key in wanted.keys() | contents.unique.keys()
        if wanted.get(key) != contents.unique.get(key)
    ]


def _places_and_hashes_agree(contents: Contents) -> list[str]:
    found = []
    for job_id, run_at in contents.scores.get("scheduled", {}).items():
        if float(contents.hashes.get(job_id, {}).get("run_at", run_at)) != run_at:
            found.append(f"job {job_id} is scheduled for {run_at} and says otherwise itself")
    for place, needed in (("dead", "errors"), ("completed", "result")):
        found += [
            f"job {job_id} is {place} without {needed}"
            for job_id in contents.scores.get(place, {})
            if needed not in contents.hashes.get(job_id, {needed: b""})
        ]
    return found


def _wishes_to_stop_are_for_jobs(contents: Contents) -> list[str]:
    # The job may be over: a handler that returns all the same has completed, and `complete`, which is
    # called for every job there is, does not look for wishes. `cancels` forgets them after a day.
    return [
        f"somebody wants {name!r} stopped since {at}, and that is no job"
        for name, at in contents.scores.get("cancels", {}).items()
        if not is_id(name) or at <= 0
    ]


_RULES = (
    _each_id_stands_in_one_place,
    _each_id_has_a_hash_and_each_hash_a_place,
    _a_token_means_begun_by_the_worker_that_has_it,
    _workers_with_a_list_are_known,
    _levels_name_all_lists_with_jobs,
    _each_list_holds_jobs_of_its_priority,
    _bells_lie_where_they_wake_somebody,
    _unique_keys_and_live_jobs_point_at_each_other,
    _places_and_hashes_agree,
    _wishes_to_stop_are_for_jobs,
)
