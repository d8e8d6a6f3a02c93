"""A worker in one process, with its own heartbeat: what tests, bursts and small machines need."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

import redis

from redjobs.keys import Keys, queues_key
from redjobs.registry import Registry
from redjobs.registry import registry as shared_registry
from redjobs.worker.bench import Bench
from redjobs.worker.lane import Lane
from redjobs.worker.link import Link
from redjobs.worker.loop import ClaimLoop
from redjobs.worker.options import WorkerOptions
from redjobs.worker.upkeep import Upkeep

logger = logging.getLogger("redjobs.worker")


class Worker:
    """Runs jobs until it is told to stop. `client` is one of `connect.connect_worker`."""

    def __init__(
        self,
        client: redis.Redis,
        options: WorkerOptions = WorkerOptions(),  # noqa: B008 - frozen
        registry: Registry = shared_registry,
    ) -> None:
        queues = [Keys(name, options.prefix) for name in options.queues]
        self._options = options
        self._queues = queues
        self._link = Link(client, queues)
        self._bench = Bench(self._link.wake, threads=options.threads, concurrency=options.concurrency)
        upkeep = Upkeep(options, queues, self._link.run_all)
        lanes = [Lane(keys) for keys in queues]
        self._loop = ClaimLoop(options, registry, self._link, lanes, self._bench, upkeep)
        self._stops = 0
        self._error: BaseException | None = None

    def run(self) -> int:
        """Until SIGTERM, SIGINT or `stop`. Returns how many jobs failed.

        Must be called in the main thread: plain handlers run there. Raises what ended it.
        """
        claims = threading.Thread(target=self._claim, name="redjobs-claims", daemon=True)
        with self._signals():
            claims.start()
            self._bench.main.serve()
            claims.join()
        if self._error is not None:
            raise self._error
        return self._loop.failed_jobs

    def stop(self, grace: float | None = None) -> None:
        """Claim no more; end once nothing runs, within the grace. For any thread."""
        self._loop.stop(self._options.grace if grace is None else grace)
        self._link.wake()

    def _claim(self) -> None:
        try:
            self._announce()
            self._loop.run(self._obey)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._error = error
        finally:
            if self._loop.abandoned:
                # A handler that ignores its interrupt holds the main thread; its job was given back.
                logger.warning("%d jobs did not stop and were given back", len(self._loop.abandoned))
                logging.shutdown()
                os._exit(0)
            self._link.close()
            self._bench.stop()

    def _announce(self) -> None:
        for keys in self._queues:
            with contextlib.suppress(redis.RedisError):  # only lists need it; the loop waits for the server
                self._link.client.sadd(queues_key(keys.prefix), keys.queue)

    def _obey(self, messages: bytes) -> None:
        for number in messages:
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stops += 1
                name = signal.Signals(number).name
                if self._stops == 1:
                    logger.info("%s: finishes what runs, within %g s", name, self._options.grace)
                    self._loop.stop(self._options.grace)
                else:
                    logger.warning("%s again: stops now, jobs that run are given back", name)
                    self._loop.stop(0)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals wake the claim thread with their number, at once, whatever a handler is doing."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        fd = signal.set_wakeup_fd(self._link.wake_fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd)
            for number, handler in before.items():
                signal.signal(number, handler)
