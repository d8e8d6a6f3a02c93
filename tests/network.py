"""A network that can be parted: servers have addresses, and what is sent from one side to the other vanishes.

    network.enter()
    ...
    with network.parted(["127.0.0.2"], ["127.0.0.3", "127.0.0.4"]):
        ...

It is this process' own, with its children (Linux; `ip` and `unshare`), so nobody else's is touched. A server
speaks from an address of its own, 127.0.0.2 and so on; whoever gives none, from 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path

#: Where whoever gives no address speaks from.
HERE = "127.0.0.1"
#: The routing table for what must not arrive. It leaves by a device with nobody behind it: a rule that drops
#: it would tell the sender.
_NOWHERE = "66"


def enter() -> None:
    """Begin this program again in a network of its own, unless it is in one."""
    if socket.if_nameindex() != [(1, "lo")]:
        os.execvp("unshare", ["unshare", "--map-root-user", "--net", *sys.orig_argv])
    _ip("link set lo up")
    _ip("link add hole type veth peer name end")
    _ip("link set hole up arp off")
    Path("/proc/sys/net/ipv4/conf/hole/route_localnet").write_text("1")
    _ip(f"route add default dev hole table {_NOWHERE}")
    # What is parted is asked before what is local.
    _ip("rule add pref 10 lookup local")
    _ip("rule del pref 0")


@contextlib.contextmanager
def parted(these: Collection[str], those: Collection[str]) -> Iterator[None]:
    """Until the end of the block nothing passes between two sides, and neither is told."""
    ways = [*product(these, those), *product(those, these)]
    rules = [f"pref 5 from {one} to {other} lookup {_NOWHERE}" for one, other in ways]
    try:
        for rule in rules:
            _ip(f"rule add {rule}")
        yield
    finally:
        for rule in rules:
            _ip(f"rule del {rule}")


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)
