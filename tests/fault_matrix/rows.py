"""The rows: a fault, and what holds when it happens. The numbers are those that tests are marked with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One fault, at one kind of moment."""

    number: int
    fault: str
    holds: str
    #: What its tests do not reach, or what cannot be helped.
    note: str = ""
    #: Why it has no test.
    untested: str = ""


ROWS = (
    Row(1, "A worker is killed while it waits for a job", "The next job runs once, elsewhere"),
    Row(
        2,
        "… when the server has given it a job that it has not heard of",
        "The job runs once, after a lease at most; with a supervisor at once",
    ),
    Row(3, "… when the job is begun and its handler has not started", "It runs once, and that is attempt 1"),
    Row(
        4,
        "… while the handler runs, or after its work and before the server was told",
        "It runs again, as the same attempt; the crash is counted",
        "This is what *at least once* means: the second run cannot be avoided",
    ),
    Row(5, "… when it has said that the job is done and has not heard the answer", "It does not run again"),
    Row(
        6,
        "A worker is told to stop, once or twice, by SIGTERM or SIGINT, to one process or all; or is "
        "killed while it stops",
        "What does not end within the grace goes back to the front, its attempt not counted; nothing "
        "runs twice. Killed while it stops: as row 4",
        "Ten stops at random moments a run",
    ),
    Row(
        7,
        "A worker is frozen for longer than its lease, and goes on afterwards",
        "Others run its jobs; what it says about them later changes nothing, and it is told so",
        "What its handler does outside of Redis after it wakes cannot be stopped",
    ),
    Row(
        8,
        "A handler holds the interpreter, forks, leaves the process in any way, crashes it, or has no"
        " memory left",
        "No lease is lost by a busy handler; a crash is charged to the job that caused it, which is "
        "dead after the third; its neighbours are not charged",
    ),
    Row(
        9,
        "The reply to a blocking pop is lost",
        "The worker finds what it was given and runs it, once, without waiting for a lease",
    ),
    Row(
        10,
        "A connection is dead and only the server does not know, and it answers there",
        "The job is found by its worker's next look, or goes to another after the lease; it runs once",
    ),
    Row(
        11,
        "The request or the reply of any other call of a worker is lost",
        "The call is made again or made good; each job runs once",
    ),
    Row(
        12,
        "The reply to an enqueue is lost, several times over",
        "One job, while it lives. When no reply ever comes: EnqueueUnknown with the ids",
        "An enqueue that is sent again when its job has *already run and been forgotten* makes it "
        "anew, and it runs a second time",
    ),
    Row(13, "Replies are late by up to two seconds, and arrive in single bytes", "Each job runs once"),
    Row(
        14,
        "The server ends connections at random",
        "Each job runs once",
        "A hundred ends a run, on each server",
    ),
    Row(
        15,
        "The server pauses all commands, only writes, or does not move at all, for longer than a lease",
        "Nothing is lost; workers take their leases up again before anybody sweeps",
    ),
    Row(
        16,
        "The server's process is killed under load, with its AOF synced always or every second",
        "No accepted job is lost; workers say so once, wait and come back; what they had to report is"
        " done once",
        "Two kills a run; `scripts/chaos --mix server` for more. Where the disk is slow, see above",
    ),
    Row(
        17,
        "Power is lost: the AOF ends anywhere",
        "What is before the cut is there, whole: no call is half done, no rule of the data is broken",
        "The machine stays on: of the log of 60 random commands the last 16 kB are cut at each end of"
        " a record, next to it, and at every 499th byte between; when slow, of 300 commands at every "
        "byte of them. Redis ends itself where it reads a torn record in this way, so there at the "
        "ends only",
    ),
    Row(
        18,
        "The server forgets its scripts, or is restarted, while workers and producers work",
        "They are sent again; nobody sees an error",
    ),
    Row(
        19,
        "Sentinel fails over under load",
        "What the replica had received is run; the rest is counted",
        "Four kills a run with calls under way, one of them by default: all runs that WAIT had "
        "confirmed. Of what nobody waited for, fewer than 50 jobs may be missing; the measurement above "
        "counts more of it. A primary without AOF that is back before the failover is empty, and so "
        "is its replica",
    ),
    Row(
        20,
        "The primary is cut off from its replica, and then fails over",
        "Who waits for the replica is told that it did not confirm; tokens from before are refused",
    ),
    Row(
        21,
        "The old primary comes back, or wakes up with everybody attached",
        "Workers leave it; what it says then is not believed; on the winner no job is in two places",
        "Not repeated with `min-replicas-to-write 1`: the measurement above has it, and row 38 the refusal",
    ),
    Row(
        22,
        "A cluster moves a slot while workers are blocked in it, key by key or at once, or loses a primary",
        "Nothing is lost, nothing half done; workers wait and follow",
        "Of a primary that is killed, what it had accepted in its last moment may be lost: fewer than"
        " 50 jobs here",
    ),
    Row(23, "A queue's name that would spread its keys over several slots", "It is refused when it is named"),
    Row(
        24,
        "The server's memory is full: at enqueue, promote, take, heartbeat, complete",
        "An enqueue is refused whole, with the server's error; everything that makes room goes on, "
        "and the server drains",
    ),
    Row(
        25,
        "The server evicts keys of jobs (`allkeys-lru`)",
        "Workers warn when they start; an id without its job is dropped and named in the log, and "
        "the others run",
        "A job whose hash was evicted is lost, and is not listed as dead: nothing of it is left but its id",
    ),
    Row(
        26,
        "A key has a wrong type, each key of each script",
        "An error that names it, and nothing is changed",
    ),
    Row(
        27,
        "An ACL denies a command, each command of each script",
        "An error with the server's words; what was written before it loses no job and doubles none",
        "Where a *write* is denied, an earlier write of the same call stays: Redis does not roll "
        "back. It is such that the call, sent again, mends it; but where LREM is denied, a ready job "
        "that is rescheduled may run at both times",
    ),
    Row(
        28,
        "Clocks: the server's jumps an hour ahead or back while a job runs; a client's is a day off",
        "Back: nothing runs before its time. Ahead: leases run out, so a running job may run twice; "
        "its stale end is refused. A client's clock decides nothing",
        "Back: a worker without a supervisor that dies before its next heartbeat is noticed later by "
        "as much. Only Valkey starts under libfaketime, which moves its clock. Skipped: fakeredis, "
        "whose clock is ours; and all that need libfaketime where it is not installed",
    ),
    Row(
        29,
        "A hundred thousand jobs are due in the same millisecond",
        "Each call moves a bounded number, in the order of their times",
        "How long a call takes is printed and not asserted, since others use the machine: in four "
        "runs, three of them beside other work, the longest of 625 took 0.6 to 4.3 ms on Valkey, 0.4 to "
        "14.8 ms on Redis 7; 20 are the limit we set ourselves. A million scheduled jobs are a case of "
        "`scripts/bench`",
    ),
    Row(
        30, "Eight sweeps at once, over the same dead worker and the same due jobs", "Each job is moved once"
    ),
    Row(
        31,
        "Calls that are repeated or too late: completed twice, after a sweep, after others have the job",
        "They are refused and change nothing",
    ),
    Row(
        32,
        "Jobs that cannot be read or are not known: broken or hostile payloads, names, options, numbers",
        "Unreadable: dead with the reason. Unknown: waits for a worker that knows it, no attempt "
        "lost. The worker lives and imports nothing",
    ),
    Row(
        33,
        "A job fails, up to its limits of attempts and crashes",
        "As often as was said, never sooner than its backoff",
    ),
    Row(
        34,
        "A process forks, or has threads, after its client was made",
        "Nobody shares a connection",
        "gevent is not supported and not tested",
    ),
    Row(
        35,
        "Two versions of redjobs share a queue",
        "Unknown options and fields are kept and do not matter; a newer format is left to newer workers",
        "Until there are two releases, the newer one is this one with more to say, the older one its data",
    ),
    Row(
        36,
        "fakeredis, Redis and Valkey differ",
        "Random commands leave the same on each: what the model says",
    ),
    Row(
        37,
        "A client of Sentinel is interrupted in the middle of a read",
        "No call gets another call's reply",
    ),
    Row(
        38,
        "The server is there and refuses: the disk is full, snapshots fail, it loads, runs a long "
        "script, has no replicas, is one",
        "Producers get the server's error; a worker says so once, asks rarely, and goes on when it is"
        " over; nothing is lost",
        "Of a server that loads, or whose pool of connections is used up, a producer hears `EnqueueUnknown`"
        " after a few seconds, although nothing was enqueued. What was accepted last before a disk was full"
        " is in the server's memory only, until there is room",
    ),
)
