"""A producer's queue that tells a test more than a producer may know: see roles.py."""

from __future__ import annotations

from typing import Any

import redis

from redjobs import Queue, Verdict
from redjobs.access import Role
from redjobs.sweeper import SweepPolicy, SweepResult
from tests.roles import as_role
from tests.servers import Server


def observed(server: Server, name: str = "default", **options: Any) -> Queue:
    """A queue as an application has it; where there are no roles, a plain one."""
    if as_role(server.url, Role.ADMIN) == server.url:
        return Queue(name, url=server.url, **options)
    return _Observed(server, name, **options)


class _Observed(Queue):
    def __init__(self, server: Server, name: str, **options: Any) -> None:
        super().__init__(name, url=server.url, **options)
        self._looks = server.client()
        self._admin = Queue(name, url=as_role(server.url, Role.ADMIN), **options)

    @property
    def redis(self) -> redis.Redis:
        """Nobody's: with it tests look at keys, and break them."""
        return self._looks

    # What producers may not do -------------------------------------------------------------

    def requeue(self, job_id: str) -> Verdict:
        return self._admin.requeue(job_id)

    def delete(self, job_id: str) -> Verdict:
        return self._admin.delete(job_id)

    def sweep(self, policy: SweepPolicy | None = None) -> SweepResult:
        return self._admin.sweep(policy)

    def close(self) -> None:
        super().close()
        self._admin.close()
