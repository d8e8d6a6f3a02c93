"""Everything that goes wrong, on a schedule that a seed decides: what, when, and whom it hits.

The schedule is made before the run, so the same seed does the same things at the same moments.
Which process has a number then, and what the machine is just doing, no seed decides.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import redis

from redjobs.connect import SOCKET_TIMEOUT_S
from redjobs.connect.patience import RETRIES
from tests.chaos.checker import ORPHANED
from tests.chaos.fleet import Crew, Fleet
from tests.chaos.ground import Ground
from tests.chaos.history import History
from tests.proxy import Matches, Rule, command, script

#: What may go wrong, and how often compared with the others.
MIXES: dict[str, dict[str, float]] = {
    "kills": {"kill_child": 90, "kill_supervisor": 4, "kill_machine": 3, "kill_solo": 3},
    "freezes": {
        "kill_child": 20,
        **dict.fromkeys(("freeze_child", "freeze_machine"), 10),
        **dict.fromkeys(("freeze_solo", "freeze_supervisor"), 5),
    },
    "network": {
        **dict.fromkeys(("lose_reply", "lose_request"), 30),
        **dict.fromkeys(("cut", "kill_clients", "delay", "chop"), 8),
        **dict.fromkeys(("reset", "black_hole", "hold_reply", "lose_keyed"), 3),
    },
    "server": {"forget_scripts": 20, "kill_server": 8, "pause": 6, "fill": 6, "kill_clients": 10},
}
MIXES["all"] = {name: weight / sum(mix.values()) for mix in MIXES.values() for name, weight in mix.items()}
#: Acts per second, on average.
RATES = {"kills": 3.0, "freezes": 0.7, "network": 2.0, "server": 0.5, "all": 1.2}

KILLS = ("kill_child", "kill_supervisor", "kill_machine", "kill_solo")
#: Acts that hit everybody: after each of them there is some quiet, so that its traces are its own.
_WIDE = ("black_hole", "reset", "hold_reply", "kill_server", "pause", "fill", "delay", "chop")
_QUIET_SECONDS = 2.0
#: What replies and requests are lost of: what applications call, and what workers do.
_OF_CALLERS = ("enqueue", "cancel", "reschedule", "peek")
_OF_WORKERS = ("BRPOPLPUSH", "take", "begin", "complete", "retry", "release", "bury", "discard", "cancels")
_OF_UPKEEP = ("heartbeat", "sweep", "stranded", "recover", "retire")
_CALLS = (*_OF_CALLERS, *_OF_WORKERS, *_OF_UPKEEP)


@dataclass(frozen=True)
class Act:
    """One thing that goes wrong."""

    at: float
    name: str
    #: Whom it hits, and how hard: numbers from 0 to 1.
    whom: float
    how: float


def plan(mix: str, seed: int, seconds: float, kills: int = 0, rate: float | None = None) -> list[Act]:
    """The schedule; with `kills` it goes on until so many processes are to be killed."""
    choose = random.Random(f"nemesis {mix} {seed}")
    names, weights = zip(*MIXES[mix].items(), strict=True)
    acts: list[Act] = []
    at, killed = 1.0, 0
    # Now and then there is nobody to kill.
    while killed < 1.5 * kills if kills else at < seconds:
        (name,) = choose.choices(names, weights)
        acts.append(Act(at, name, choose.random(), choose.random()))
        killed += name in KILLS
        at += choose.expovariate(rate or RATES[mix]) + (_QUIET_SECONDS if name in _WIDE else 0.0)
    return acts


class Nemesis(threading.Thread):
    """Does what is planned, and mends what is to be mended."""

    def __init__(
        self,
        acts: list[Act],
        ground: Ground,
        fleet: Fleet,
        history: History,
        *,
        lease: float,
        enough: int = 0,
    ) -> None:
        super().__init__(name="nemesis", daemon=True)
        self._acts = acts
        self._ground = ground
        self._fleet = fleet
        self._history = history
        self._lease = lease
        #: So many kills are enough; 0: all that is planned.
        self._enough = enough
        self._numbers = itertools.count()
        #: What is to be mended, and when.
        self._mends: list[tuple[float, int, Callable[[], object]]] = []
        self._rules: list[Rule] = []
        self._told_to_end = threading.Event()
        self.done: Counter[str] = Counter()
        self.problem: BaseException | None = None

    @property
    def kills(self) -> int:
        """How many processes or groups of them were killed."""
        return sum(self.done[name] for name in KILLS)

    @property
    def used(self) -> dict[str, int]:
        """How many commands met a rule, by what became of them."""
        found: Counter[str] = Counter()
        for rule in self._rules:
            found[rule.action] += rule.used
        return dict(found)

    def stop(self) -> None:
        """Do no more."""
        self._told_to_end.set()
        self.join()

    def run(self) -> None:
        try:
            began = time.monotonic()
            for act in self._acts:
                self._wait(began + act.at)
                if self._told_to_end.is_set() or (self._enough and self.kills >= self._enough):
                    break
                if getattr(self, f"_{act.name}")(act) is not False:
                    self.done[act.name] += 1
            while self._mends:
                self._mend(heapq.heappop(self._mends))
            self._ground.proxy.forget()
        except BaseException as problem:  # the campaign raises it
            self.problem = problem

    def _wait(self, until: float) -> None:
        """Until then, and mend what is due."""
        while self._mends and self._mends[0][0] <= until:
            self._mend(heapq.heappop(self._mends))
        self._told_to_end.wait(max(0.0, until - time.monotonic()))

    def _mend(self, mend: tuple[float, int, Callable[[], object]]) -> None:
        self._told_to_end.wait(max(0.0, mend[0] - time.monotonic()))
        mend[2]()

    def _later(self, seconds: float, mend: Callable[[], object]) -> None:
        heapq.heappush(self._mends, (time.monotonic() + seconds, next(self._numbers), mend))

    # Processes -------------------------------------------------------------------------------

    def _crew(self, act: Act, *, solo: bool = False) -> Crew:
        crews = [crew for crew in self._fleet.crews if crew.is_solo is solo]
        return crews[int(act.whom * len(crews))]

    def _child(self, act: Act) -> tuple[Crew, int] | None:
        """A child of some supervisor; the later part of the number chooses among its children."""
        crew = self._crew(act)
        children = crew.children()
        return (crew, children[int(act.how * len(children))]) if children else None

    def _kill_child(self, act: Act) -> bool:
        found = self._child(act)
        if found is None:
            return False
        crew, pid = found
        at = time.monotonic()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self._history.fault("child killed", at, [pid], kills=True, supervisor=crew.pid)
        return True

    def _kill_supervisor(self, act: Act) -> None:
        crew = self._crew(act)
        pids = crew.all()
        at = time.monotonic()
        _signal([crew.pid], signal.SIGKILL)
        # Its children finish what they run, as long as their leases last, and leave.
        self._history.fault(ORPHANED, at, pids, until=at + 2 * self._lease)

    def _kill_machine(self, act: Act) -> None:
        self._kill_all(self._crew(act), "machine killed")

    def _kill_solo(self, act: Act) -> None:
        self._kill_all(self._crew(act, solo=True), "solo killed")

    def _kill_all(self, crew: Crew, kind: str) -> None:
        pids = crew.all()
        at = time.monotonic()
        crew.signal_all(signal.SIGKILL)
        self._history.fault(kind, at, pids, kills=True)

    def _freeze_child(self, act: Act) -> bool:
        found = self._child(act)
        if found is None:
            return False
        _, pid = found
        # Its supervisor keeps its lease: nobody else gets its jobs.
        self._freeze("child frozen", [pid], (0.5 + act.how) * self._lease, excuses=False)
        return True

    def _freeze_machine(self, act: Act) -> None:
        self._freeze("machine frozen", self._crew(act).all(), (0.8 + 1.2 * act.how) * self._lease)

    def _freeze_solo(self, act: Act) -> None:
        crew = self._crew(act, solo=True)
        self._freeze("solo frozen", crew.all(), (0.8 + 1.2 * act.how) * self._lease)

    def _freeze_supervisor(self, act: Act) -> None:
        # Nobody keeps the leases of its children, which go on.
        crew = self._crew(act)
        seconds = (0.8 + 1.2 * act.how) * self._lease
        self._freeze("supervisor frozen", [crew.pid], seconds, hits=crew.all())

    def _freeze(
        self,
        kind: str,
        pids: list[int],
        seconds: float,
        *,
        hits: list[int] | None = None,
        excuses: bool = True,
    ) -> None:
        at = time.monotonic()
        _signal(pids, signal.SIGSTOP)

        def thaw() -> None:
            _signal(pids, signal.SIGCONT)
            # What had begun is done late, after others were given it.
            until = time.monotonic() + self._lease
            self._history.fault(kind, at, hits or pids, until=until, excuses=excuses)

        self._later(seconds, thaw)

    # The network -----------------------------------------------------------------------------

    def _lose_reply(self, act: Act) -> None:
        self._lose(self._ground.proxy.lose_reply, act)

    def _lose_request(self, act: Act) -> None:
        self._lose(self._ground.proxy.lose_request, act)

    def _lose(self, lose: Callable[..., Rule], act: Act) -> None:
        name, matches = _call(act)
        self._rules.append(lose(matches, times=1 + int(act.how * 3)))
        self._history.fault(f"{name} lost", time.monotonic(), excuses=False)

    def _lose_keyed(self, act: Act) -> None:
        """All that one caller sends: it is told that nobody knows, and enqueues the key again."""
        lose = self._ground.proxy.lose_reply if act.how < 0.5 else self._ground.proxy.lose_request
        self._rules.append(lose(_is_keyed, times=1 + RETRIES))
        self._history.fault("keyed enqueue lost", time.monotonic(), excuses=False)

    def _hold_reply(self, act: Act) -> None:
        """It comes when whoever waits for it has given up and asked again."""
        (name, matches), at = _call(act), time.monotonic()
        rule = self._ground.proxy.hold_reply(matches)
        self._rules.append(rule)

        def mend() -> None:
            self._ground.proxy.release(rule)
            if rule.used:  # who waits settles nothing and renews no lease
                until, excuses = time.monotonic() + self._lease, name not in _OF_CALLERS
                self._history.fault(f"{name} held", at, until=until, excuses=excuses)

        self._later(SOCKET_TIMEOUT_S + 1.0, mend)

    def _cut(self, _act: Act) -> None:
        self._ground.proxy.cut()
        self._history.fault("all cut", time.monotonic(), excuses=False)

    def _delay(self, act: Act) -> None:
        choose, at = random.Random(act.how), time.monotonic()
        self._ground.proxy.delay = lambda: choose.random() * 0.1

        def mend() -> None:
            self._ground.proxy.delay = None
            self._history.fault("replies delayed", at, excuses=False)

        self._later(1.0 + act.whom, mend)

    def _chop(self, act: Act) -> None:
        self._ground.proxy.chops, at = True, time.monotonic()

        def mend() -> None:
            self._ground.proxy.chops = False
            self._history.fault("replies in single bytes", at, excuses=False)

        self._later(0.5 + act.whom, mend)

    def _black_hole(self, act: Act) -> None:
        at = time.monotonic()
        self._ground.proxy.black_hole()
        self._heal(act, "black hole", at)

    def _reset(self, act: Act) -> None:
        at = time.monotonic()
        self._ground.proxy.reset_clients()
        self._heal(act, "half open", at)

    def _heal(self, act: Act, kind: str, at: float) -> None:
        def mend() -> None:
            self._ground.proxy.heal()
            # Who waits for a reply that never comes gives up after five seconds; leases end before.
            self._history.fault(kind, at, until=time.monotonic() + 5.0 + self._lease)

        self._later(1.0 + 3 * act.how, mend)

    # The server ------------------------------------------------------------------------------

    def _kill_clients(self, act: Act) -> None:
        at = time.monotonic()
        self._server("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self._history.fault("clients killed", at, excuses=False)

    def _forget_scripts(self, _act: Act) -> None:
        self._server("SCRIPT", "FLUSH")

    def _pause(self, act: Act) -> None:
        at, seconds = time.monotonic(), (0.3 + 1.2 * act.how) * self._lease
        self._server("CLIENT", "PAUSE", round(seconds * 1000), "WRITE" if act.whom < 0.5 else "ALL")
        # Where it lasts as long as a lease, the first sweep takes everybody's jobs.
        self._history.fault(
            "server paused", at, until=at + seconds + self._lease, excuses=seconds > 0.7 * self._lease
        )

    def _fill(self, act: Act) -> None:
        at = time.monotonic()
        self._server("CONFIG", "SET", "maxmemory", "1mb")

        def mend() -> None:
            self._server("CONFIG", "SET", "maxmemory", "0")
            self._history.fault("memory full", at, excuses=False)

        self._later(1.0 + 2 * act.how, mend)

    def _kill_server(self, act: Act) -> None:
        at = time.monotonic()
        self._ground.kill()
        self._told_to_end.wait(act.how * 0.5)
        self._ground.restart()
        self._history.fault("server killed", at, excuses=False)

    def _server(self, *words: object) -> None:
        """A command of an operator, which also may find the server dead."""
        try:
            self._ground.run(*words)
        except redis.RedisError as error:
            self._history.error(str(words[0]).lower(), error)


def _call(act: Act) -> tuple[str, Matches]:
    """Which command or script it hits."""
    name = _CALLS[int(act.whom * len(_CALLS))]
    return name, command(name) if name.isupper() else script(name)


def _is_keyed(words: list[bytes]) -> bool:
    return script("enqueue")(words) and any(b":unique:" in word for word in words[8:9])


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
