"""Sentinels say which of several servers is the primary now."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import redis
from redis.exceptions import MasterDownError, ResponseError

from redjobs.connect.asking import ask, is_refusal
from redjobs.connect.seeking import Elsewhere
from redjobs.errors import ServerUnavailable
from redjobs.manyhosts import Address, Hosts

#: After a failover the former primary accepts writes for ten seconds if it lives, and loses them all
#: when it is told: so Sentinels are asked now and then, though nothing has happened.
_LOOK_AGAIN_S = 1.0
#: Where none of them answers, which may take three seconds, they are asked less often.
_LOOK_AGAIN_IN_VAIN_S = 10.0
#: What a primary says that was made a replica: to writes, to reads, and to calls that were blocked.
_DEMOTED = (redis.ReadOnlyError, MasterDownError)
_UNBLOCKED = "UNBLOCKED"


class UnknownPrimary(ServerUnavailable, redis.ConnectionError):
    """No Sentinel watches a primary of this name; a ConnectionError too, as workers wait that out."""


class Sentinels:
    """A Finder of the primary."""

    def __init__(self, hosts: Hosts, options: Mapping[str, Any]) -> None:
        self._hosts = hosts
        self._options = {**options, **dict(hosts.credentials)}
        #: Who answered last is asked first.
        self._addresses = hosts.addresses
        self._primary: Address | None = None
        self._stale_at = 0.0

    def find(self) -> Address:
        """The primary's address. Asks one Sentinel after the other, up to a second each."""
        try:
            found = self._find()
        except redis.ConnectionError:
            self._stale_at = time.monotonic() + _LOOK_AGAIN_IN_VAIN_S
            raise
        self._stale_at = time.monotonic() + _LOOK_AGAIN_S
        return found

    def _find(self) -> Address:
        problem: Exception | None = None
        for address in self._addresses:
            try:
                found = self._ask(address)
            except redis.RedisError as error:
                problem = error if not is_refusal(problem) else problem
                continue
            if found is not None:
                self._addresses = (address, *(other for other in self._addresses if other != address))
                self._primary = found
                return found
        if isinstance(problem, redis.AuthenticationError):
            raise problem
        if problem is not None:
            raise redis.ConnectionError(
                f"no Sentinel of {self._hosts} names a primary: {problem}"
            ) from problem
        raise UnknownPrimary(f"the Sentinels at {self._hosts} watch no primary named {self._hosts.service!r}")

    def doubts(self, address: Address, _seconds: float) -> bool:
        """Whether a reply may be of a primary that is none any more: asked too long ago, or known by now."""
        return self.is_stale() or not self.is_home(address)

    def denies(self, address: Address) -> bool:
        """Ask again, unless that was done just now. Nobody denies anything where no Sentinel answers."""
        if self.is_stale():
            with contextlib.suppress(redis.ConnectionError):
                self.find()
        return not self.is_home(address)

    def is_stale(self) -> bool:
        """Whether Sentinels were asked longer ago than a second."""
        return time.monotonic() > self._stale_at

    def failed(self, address: Address, _seconds: float) -> None:
        """Whoever has named it is asked last from now on: it may be cut off from the others."""
        if address == self._primary:
            first, *others = self._addresses
            self._addresses = (*others, first)

    def is_home(self, address: Address) -> bool:
        """Whether this was the primary when Sentinels were asked last."""
        return address == self._primary

    def sent_away(self, error: ResponseError) -> Elsewhere | None:
        """What it means, where this is no primary any more."""
        demoted = isinstance(error, _DEMOTED) or str(error).startswith(_UNBLOCKED)
        return Elsewhere(str(error)) if demoted else None

    def _ask(self, address: Address) -> Address | None:
        """What one Sentinel says; None where it does not know the name."""
        told = ask(address, self._options, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._hosts.service)
        return None if told is None else (told[0].decode(), int(told[1]))
