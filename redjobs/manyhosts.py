"""URLs with several hosts: the Sentinels that watch a primary, or nodes of a cluster.

    redis+sentinel://user:pass@host1,host2:26379/mymaster/0?sentinel_password=...
    redis+cluster://user:pass@host1:7001,host2:7002

User and password are those of the servers; Sentinels have their own, where they have any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redjobs.errors import SettingsError

SENTINEL_PORT = 26379
CLUSTER_PORT = 6379

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a URL with several hosts says."""

    addresses: tuple[Address, ...]
    #: The URL with the first of the hosts only, as redis-py reads it: it has the options of all.
    url: str
    #: What the Sentinels call the primary.
    service: str = ""
    #: For connections to the Sentinels themselves: username, password.
    credentials: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"<Hosts {self}>"

    def __str__(self) -> str:
        return ", ".join(f"{host}:{port}" for host, port in self.addresses)


def split_hosts(url: str, where: str) -> Hosts:
    """Take such a URL apart. Raises SettingsError; `where` names the URL without its passwords."""
    scheme, _, kind = url.partition("://")[0].partition("+")
    parts = urlsplit(url)
    user, at, named = parts.netloc.rpartition("@")
    port = SENTINEL_PORT if kind == "sentinel" else CLUSTER_PORT
    addresses = tuple(_address(text, port, where) for text in named.split(","))
    host, port = addresses[0]
    start = f"{scheme}://{user}{at}{f'[{host}]' if ':' in host else host}:{port}"
    end = f"#{parts.fragment}" if parts.fragment else ""
    if kind == "cluster":
        if parts.path.strip("/") not in ("", "0"):
            raise SettingsError(f"{where}: a cluster has no databases; nothing follows the hosts")
        query = f"?{parts.query}" if parts.query else ""
        return Hosts(addresses, f"{start}/0{query}{end}")
    service, _, database = parts.path.lstrip("/").partition("/")
    if not service or service.isdigit():
        raise SettingsError(
            f"{where}: what follows the hosts must be what the Sentinels call the primary,"
            f" as in redis+sentinel://host1,host2/mymaster"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    theirs = tuple((name.removeprefix("sentinel_"), value) for name, value in options if _is_theirs(name))
    query = urlencode([(name, value) for name, value in options if not _is_theirs(name)])
    return Hosts(
        addresses, f"{start}/{database}{f'?{query}' if query else ''}{end}", unquote(service), theirs
    )


def _is_theirs(name: str) -> bool:
    return name in ("sentinel_username", "sentinel_password")


def _address(text: str, port: int, where: str) -> Address:
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::(\d{1,5}))?", text)
    if found is None or int(found[3] or 0) > 65_535:
        # The text itself is not shown: it may be a part of a password.
        raise SettingsError(f"{where}: its hosts cannot be read; they look like host1:{port},host2:{port}")
    return found[1] or found[2], int(found[3] or port)
