"""Every protection, switched off by one change of one script, and the scene in which that is seen.

So a search that finds nothing says something: it would have found these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.interleavings.scene import Scene
from tests.interleavings.scenes import scene
from tests.interleavings.store import Breakage


@dataclass(frozen=True)
class Missing:
    """A protection that is not there."""

    name: str
    #: Where it is missed, and what is then said.
    where: str
    says: str
    breakages: tuple[Breakage, ...] = ()
    #: What the processes do not do: see `Scene.omits`.
    omits: str = ""

    @property
    def scene(self) -> Scene:
        """The scene, with what the processes leave undone."""
        return replace(scene(self.where), omits=frozenset({self.omits} - {""}))


def _without(script: str, text: str, becomes: str) -> tuple[Breakage, ...]:
    return (Breakage(script, text, becomes),)


_STALE = "which w1 has"

#: Not here: that complete, bury, discard, retry and cancel leave a unique key alone which another job
#: holds by now. Who gets as far as that lives, and who lives holds its key, unless a person, an eviction or
#: the word `stale` has taken it away; the rules of the data, which hold in each state of a search, see to
#: that. So it is missed only where these are broken already.
MISSING = (
    Missing(
        "the token in complete",
        "frozen",
        "do not add up",
        _without("complete", "redis.call('HGET', KEYS[i + 3], 'token') == token", "true"),
    ),
    Missing(
        "the token in retry",
        "frozen",
        "stands in scheduled and in ready",
        _without("retry", "if held[1] ~= token then return {'lost', 0} end", ""),
    ),
    Missing(
        "the token in bury",
        "lost and late",
        "do not add up",
        _without("bury", "if redis.call('HGET', job, 'token') ~= token then return 'lost' end", ""),
    ),
    Missing(
        "the token in discard",
        "cancelled",
        "do not add up",
        _without("discard", "if redis.call('HGET', job, 'token') ~= token then return 'lost' end", ""),
    ),
    Missing(
        "the token in release",
        "lost and late",
        _STALE,
        _without("release", "mine[id] and (held[1] or '') == token", "mine[id]"),
    ),
    Missing(
        "that only retired workers are recovered",
        "everything",
        _STALE,
        _without("recover", "if not redis.call('ZSCORE', retired, worker) then return {0, 0} end", ""),
    ),
    Missing(
        "that a worker begins only what is in its list",
        "lost and late",
        "A",
        _without("begin", "if mine[id] then", "if true then"),
    ),
    Missing(
        "that a job is begun once",
        "lost and late",
        _STALE,
        _without("begin", "elseif claimed then", "elseif false then"),
    ),
    Missing(
        "the lease in take",
        "frozen",
        "has no lease",
        _without("take", "if count > 0 and not redis.call('ZSCORE', workers, worker) then", "if false then"),
    ),
    Missing(
        "the lease in begin",
        "frozen",
        "has no lease",
        _without("begin", "if not redis.call('ZSCORE', workers, worker) then", "if false then"),
    ),
    Missing(
        "that only the culprit is charged",
        "poison, once is too often",
        "quarantined",
        _without("recover", "ARGV[a + 1] == '1'", "true"),
    ),
    Missing(
        "that a sweep remembers whom it retired",
        "swept",
        "for ever",
        _without("sweep", "redis.call('ZADD', retired, now_ms, worker)", ""),
    ),
    Missing(
        "that a heartbeat does not bring back a retired worker",
        "frozen",
        "is retired and has a lease",
        _without(
            "heartbeat", "if register == '1' or redis.call('ZSCORE', workers, ARGV[a]) then", "if true then"
        ),
    ),
    Missing(
        "that only who has nothing leaves without a trace",
        "leaving",
        "for ever",
        _without(
            "retire", "if clean == '1' and redis.call('LLEN', processing) == 0 then", "if clean == '1' then"
        ),
    ),
    Missing(
        "that an enqueue which is sent twice is one job",
        "sent again",
        "A",
        _without("enqueue", "if redis.call('HLEN', job.key) > 0 then", "if false then"),
    ),
    Missing(
        "that a cancelled job is taken from the schedule",
        "people",
        "B",
        _without("cancel", "redis.call('ZREM', scheduled, id)", ""),
    ),
    Missing(
        "that a running job is not rescheduled",
        "people",
        "which w1 has",
        _without(
            "reschedule", "if held[2] then return {'processing', 0} end", "if held[2] then stands = true end"
        )
        + _without("reschedule", "if not waits and not stands then return {'processing', 0} end", ""),
    ),
    Missing(
        "that only the dead are requeued",
        "requeued",
        "do not add up",
        _without("requeue", "if not since then return {'notdead', ''} end", ""),
    ),
    Missing(
        "that a job leaves the dead when it is requeued",
        "requeued",
        "stands in",
        _without("requeue", "redis.call('ZREM', dead, id)", ""),
    ),
    Missing(
        "that another life begins with no attempts",
        "requeued",
        "its old attempts",
        _without("requeue", "redis.call('HDEL', job, 'attempt', 'crashes')", ""),
    ),
    Missing(
        "that a requeued job has its unique key again",
        "requeued",
        "A",
        _without("requeue", "if held[2] then redis.call('SET', unique, id) end", ""),
    ),
    Missing(
        "that only the dead are deleted",
        "deleted",
        "A",
        _without("delete", "if redis.call('ZSCORE', place, ARGV[a]) then", "if true then"),
    ),
    Missing(
        "that a cancelled job is taken from the ready list",
        "poison, cancelled, swept",
        "do not add up",
        _without("cancel", "redis.call('LREM', list, 1, id)", ""),
    ),
    Missing(
        "that a job leaves one place when it enters the other",
        "a death",
        "stands in",
        _without("recover", "redis.call('LREM', processing, 1, found.id)", ""),
    ),
    Missing(
        "the bell of enqueue",
        "asleep",
        "all processes sleep",
        _without("enqueue", "if rings and redis.call('LLEN', ready) == #due then", "if false then"),
    ),
    Missing(
        "the bell behind a batch",
        "asleep, others busy",
        "left to those that are busy",
        _without("enqueue", "redis.call('LLEN', ready) == #due", "redis.call('LLEN', ready) == 0"),
    ),
    Missing(
        "the bell of reschedule",
        "asleep, later",
        "all processes sleep",
        _without(
            "reschedule", "if at_ms < earliest and redis.call('LLEN', ready) == 0 then", "if false then"
        ),
    ),
    Missing(
        "the bell of recover",
        "asleep, recovered",
        "all processes sleep",
        _without(
            "recover",
            "if recovered > 0 and priority ~= '0' and redis.call('LLEN', ready) == 0 then",
            "if false then",
        ),
    ),
    Missing(
        "the bell of requeue",
        "asleep, requeued",
        "all processes sleep",
        _without("requeue", "if priority ~= '0' and redis.call('LLEN', ready) == 0 then", "if false then"),
    ),
    Missing(
        "the bell of release",
        "asleep, given back",
        "all processes sleep",
        _without(
            "release",
            "if released > 0 and priority ~= '0' and redis.call('LLEN', ready) == 0 then",
            "if false then",
        ),
    ),
    Missing(
        "the bell of retry",
        "asleep, retried elsewhere",
        "all processes sleep",
        _without("retry", "if run_at < earliest and redis.call('LLEN', ready) == 0 then", "if false then"),
    ),
    Missing(
        "the bell that a busy process passes on",
        "asleep, others busy, later",
        "left to those that are busy",
        _without("take", "if busy and soon and redis.call('LLEN', ready) == 0 then", "if false then"),
    ),
    Missing(
        "that who only looks at its list forgets nobody",
        "frozen, a pop",
        "for ever",
        _without("stranded", "keep_ms ~= 0 and", ""),
    ),
    Missing(
        "that a cancelled job that fails is not planned again",
        "cancelled",
        "somebody has asked that it be stopped",
        _without("retry", "not redis.call('ZSCORE', cancels, id)", "true"),
    ),
    Missing(
        "that what was to be stopped is not kept among the dead",
        "cancelled",
        "somebody has asked that it be stopped",
        _without("bury", "not redis.call('ZSCORE', cancels, id)", "true"),
    ),
    Missing(
        "that the crashes of who ends its attempt are forgotten",
        "asleep, retried elsewhere",
        "its crashes are not forgotten",
        _without("retry", "ended == '1' and 'crashes' or ''", "''"),
    ),
    Missing(
        "that what is recovered twice goes back once",
        "a death",
        "stands in",
        _without("recover", "if theirs[id] then", "if true then"),
    ),
    Missing(
        "that a worker gives back only what is in its list",
        "lost and late",
        "stands in",
        _without("release", "mine[id] and (held[1] or '') == token", "(held[1] or '') == token"),
    ),
    Missing(
        "that a unique key has one job",
        "a rival",
        "unique key 'invoice'",
        _without(
            "enqueue", "elseif holder and holder ~= stale and holder ~= job.id then", "elseif false then"
        ),
    ),
    Missing(
        "that a job is not requeued while another one holds its unique key",
        "a rival",
        "unique key 'invoice'",
        _without(
            "requeue", "if held[2] and holder and holder ~= id then return {'duplicate', holder} end", ""
        ),
    ),
    Missing(
        "that what is taken or runs is not cancelled away",
        "cancelled",
        "changed A",
        _without("cancel", "if held[2] or not (waits or redis.call('LPOS', list, id)) then", "if false then"),
    ),
    Missing(
        "that who is one crash from quarantine is begun alone",
        "suspects, swept",
        "begun beside others",
        _without("begin", "elseif solo > 0 and crashes >= solo then", "elseif false then"),
    ),
    Missing("that the server is asked who has begun a stranger", "lost and late", "for ever", omits="asks"),
    Missing("that who begins anew retires its old name", "forgotten", "for ever", omits="retire"),
    Missing("that a pop given up is minded when its worker leaves", "leaving", "for ever", omits="ghosts"),
)
