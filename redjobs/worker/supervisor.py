"""The supervisor: starts children, keeps their leases, and clears up behind those that die.

It imports no app and runs no user code, so nothing that a job does can make it miss a heartbeat.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
from typing import Any

from redjobs import connect
from redjobs.keys import Keys
from redjobs.settings import Server
from redjobs.worker import notify
from redjobs.worker.brood import CANNOT_IMPORT, Child, Spawner, idle_since
from redjobs.worker.care import Care
from redjobs.worker.forks import ForkSpawner
from redjobs.worker.health import Health
from redjobs.worker.link import Link
from redjobs.worker.options import WorkerOptions
from redjobs.worker.places import Places
from redjobs.worker.seat import Channel
from redjobs.worker.slots import Running
from redjobs.worker.startup import greet
from redjobs.worker.watch import FileWatch

logger = logging.getLogger("redjobs.worker")

#: How often children are looked at.
_LOOK_SECONDS = 0.2
#: A child whose claim loop has not turned for so long is wedged.
_WEDGED_SECONDS = 60.0
#: A child may be so late with a timeout while it waits for a connection.
_CONNECTS_SECONDS = 10.0
#: Between the end of the grace and SIGKILL: what a child needs to give its jobs back.
_LEAVE_SECONDS = 3.0
#: A rest that took so much too long was none; and so long the children have then to catch up.
_WAKE_SECONDS = 1.0
#: So many deaths in a row before a child was ready end the worker.
_MOST_FALSE_STARTS = 3


_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGTSTP,
    signal.SIGUSR1,
    signal.SIGTTIN,
    signal.SIGCONT,
)


class Supervisor:
    """Keeps its children running until it is told to stop, or they have ended by themselves.

    `logs` is what each child configures its log with.
    """

    def __init__(self, server: Server, options: WorkerOptions, logs: dict[str, Any]) -> None:
        self._server = server
        self._options = options
        self._link = Link(connect.connect_worker(server, socket_timeout=options.answer_seconds))
        self._spawner = ForkSpawner(server, logs, options.apps) if options.preload else Spawner(server, logs)
        self._care = Care(options, self._link)
        self._files = FileWatch()
        self._places = Places(options, self._spawner)
        self._children = self._places.children
        self._false_starts = 0
        self._stop_at: float | None = None
        #: Monotonic time from which children are held to their limits again.
        self._fair_at = 0.0
        self._stops = 0
        self._was_ready = False
        self._failed_jobs = 0
        self._health = Health(options)
        self._watchdog = notify.Watchdog()
        self._exit_code = 0

    def run(self) -> int:
        """Until the last child has ended. Returns the exit code.

        0: as told. 1: jobs of a burst failed, or children kept dying. 2: the app cannot be imported.
        """
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._link.wake_fileno(), warn_on_full_buffer=False)
        greet(self._server, self._options)
        self._health.serve()
        self._places.fill()
        while True:
            self._watchdog.turned()
            self._look()
            self._care.take(self._children, sweep=self._stop_at is None)
            if not (self._children or self._is_wanted):
                break
            channels = [child.channel for child in self._children if not child.channel.closed]
            self._rest([*channels, *self._spawner.ears])
            self._obey(self._link.messages())
        signal.set_wakeup_fd(-1)
        self._link.close()
        self._health.close()
        if self._options.burst and self._failed_jobs:
            self._exit_code = self._exit_code or 1
        return self._exit_code

    @property
    def _is_wanted(self) -> bool:
        return self._stop_at is None and self._places.wanted > 0

    def _rest(self, readable: list[Channel | socket.socket]) -> None:
        """Sleep until there is something to do or to hear."""
        begun = time.monotonic()
        self._link.pause(min(_LOOK_SECONDS, max(0.01, self._care.next_at - begun)), readable)
        # A container that is paused sends no SIGCONT.
        if time.monotonic() > begun + _WAKE_SECONDS:
            self._was_frozen()

    def _was_frozen(self) -> None:
        """The children most likely with us: what they missed meanwhile is not their fault."""
        self._fair_at = time.monotonic() + _WAKE_SECONDS

    # Children ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Hear what the children say, end those that must end, replace those that have ended."""
        now = time.monotonic()
        self._spawner.reap(self._children)
        for child in list(self._children):
            child.channel.push()
            for message in child.channel.receive():
                self._hear(child, message)
            if child.status is not None:
                self._bury(child)
            else:
                self._check(child, now)
        stopping = self._stop_at is not None
        self._health.judge(
            self._children, server=self._care.server_is, stopping=stopping or self._places.is_quiet
        )
        if not (stopping or self._places.is_quiet or self._care.server_is_gone):
            self._leave_if_idle(now)
        if self._stop_at is None:
            if self._options.reload and self._files.changed():
                logger.info("a file has changed: restarts the children")
                self._places.renew()
            self._places.fill()

    def _leave_if_idle(self, now: float) -> None:
        idle = self._options.max_idle
        if idle is not None and idle_since(self._children) <= now - idle:
            logger.info("stops: there was nothing to do for %g s", idle)
            self._stop(self._options.grace)

    def _hear(self, child: Child, message: dict[str, Any]) -> None:
        match message:
            case {"say": "imported", "files": dict() as files}:
                self._files.watch(files)
            case {"say": "ready"}:
                child.is_ready = self._was_ready = True
                self._false_starts = 0
                notify.ready()
                if child.replaces is not None and self._stop_at is None:
                    child.replaces.dismiss()
                child.replaces = None
            case {"say": "lane", "queue": str() as queue, "worker": str() as worker}:
                child.serves(Keys(queue, self._options.prefix), worker)
            case {"say": "recycles"}:
                child.dismissed = True
            case {"say": "fatal", "text": str() as text}:
                child.fatal = text
            case {"say": "leaving", "why": str() as why, "failed": int() as failed}:
                child.leaving = why or "told"
                self._failed_jobs += failed

    def _check(self, child: Child, now: float) -> None:
        if self._stop_at is not None and now > self._stop_at + _LEAVE_SECONDS:
            child.kill("it did not end within the grace")
        if not child.is_ready and child.speaks_by is not None and now > child.speaks_by:
            child.speaks_by = None
            text = "%s has not begun its work in %g s: its app still imports, or a hook of worker_start runs"
            logger.warning(text, child.name, now - child.started_at)
        if now < self._fair_at:
            return
        if child.hangs_at_its_start(now):
            self._spawner.give_up(child)
        if overran := self._overran(child, now):
            child.overran = overran
            child.kill(f"job {overran[0].job_id} ignored its timeout")
        turned_at = child.slots.turned_at
        if turned_at and now > turned_at + _WEDGED_SECONDS:
            hook = child.slots.hooks_of
            why = f"its claim loop has not turned for {_WEDGED_SECONDS:g} s"
            child.kill(f"{why}: a hook of {hook} does not return" if hook else why)

    def _overran(self, child: Child, now: float) -> list[Running]:
        """The jobs that ignored their timeouts. The child is late with those while something holds it up."""
        running = child.slots.running()
        late = _CONNECTS_SECONDS if self._care.server_is_gone else 0.0
        if child.is_held_up(now):
            late = _WEDGED_SECONDS
        return [job for job in running if job.kill_at is not None and now > job.kill_at + late]

    def _bury(self, child: Child) -> None:
        """A child has ended: learn why, recover its jobs, and see to its place."""
        running = child.slots.running()
        stopping = self._stop_at is not None
        # One that was not ready yet, and is told to stop by whoever told us, has nothing to clear up.
        is_clean = (child.status == 0 and bool(child.leaving)) or (stopping and not child.is_ready)
        self._places.vacate(child, done=is_clean and child.leaving == "burst")
        if not is_clean:
            # Where we killed it, we know the culprit, a job or a hook: its neighbours are not.
            charge = not child.overran and not (child.killed_for and (stopping or child.slots.hooks_of))
            self._care.salvage.add(child, running, charge=charge)
            self._failed_jobs += child.slots.failed_jobs + len(child.overran)
            self._mourn(child)
        child.close()

    def _mourn(self, child: Child) -> None:
        if child.fatal:
            logger.error("the app cannot be imported:\n%s", child.fatal.rstrip())
            if not self._was_ready:
                self._give_up("", code=CANNOT_IMPORT)
        else:
            words = child.last_words()
            logger.error("%s died: %s%s", child.name, child.obituary(), words and "\n" + words)
        if child.replaces is not None:
            logger.error("the reload is given up: the old children go on")
            self._places.leave_as_they_are()
        elif not (child.is_ready or child.is_blameless):
            self._false_starts += 1
            if self._false_starts >= _MOST_FALSE_STARTS and not any(each.is_ready for each in self._children):
                why = f"{_MOST_FALSE_STARTS} children in a row died at their start"
                self._give_up(why, code=CANNOT_IMPORT if child.fatal else 1)
        self._places.died()

    def _give_up(self, why: str, code: int = 1) -> None:
        if why:
            logger.critical("stops: %s", why)
        self._exit_code = self._exit_code or code
        self._stop(0)

    # What it is told -----------------------------------------------------------------------

    def _obey(self, messages: bytes) -> None:
        for number in messages:
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stops += 1
                name = signal.Signals(number).name
                grace = self._options.grace if self._stops == 1 else 0.0
                logger.info("%s: stops within %g s", name, grace)
                self._stop(grace)
            elif number == signal.SIGHUP:
                logger.info("SIGHUP: replaces the children one by one")
                self._places.renew()
            elif number in (signal.SIGTSTP, signal.SIGUSR1):
                logger.info("quiet: finishes what runs, claims no more")
                self._places.is_quiet = True
                self._tell_all("quiet")
            elif number == signal.SIGTTIN:
                self._tell_all("dump")
            elif number == signal.SIGCONT:
                self._was_frozen()

    def _stop(self, grace: float) -> None:
        notify.stopping()
        self._stop_at = time.monotonic() + grace
        self._tell_all("stop", grace=grace)

    def _tell_all(self, do: str, **more: Any) -> None:
        for child in self._children:
            child.tell(do, **more)
