"""Which server is chosen, what is refused, and that no password is ever shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from redjobs import settings
from redjobs.errors import SettingsError
from redjobs.settings import redact, resolve_url


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "_said", set())
    yield


def resolve(url: str | None = None, *, embedded_installed: bool = False, **environ: str) -> settings.Server:
    return resolve_url(url, environ, embedded_installed=embedded_installed)


def test_the_first_that_is_set_decides() -> None:
    argument = resolve("redis://c/1", REDJOBS_URL="redis://a", REDIS_URL="redis://b")
    assert (argument.url, argument.source) == ("redis://c/1", "argument")

    own = resolve(REDJOBS_URL="redis://a", REDIS_URL="redis://b")
    assert (own.url, own.source) == ("redis://a", "$REDJOBS_URL")

    common = resolve(REDIS_URL="redis://b", REDJOBS_URL=" ")
    assert (common.url, common.source) == ("redis://b", "$REDIS_URL")

    nothing = resolve()
    assert (nothing.url, nothing.source) == ("redis://localhost:6379/0", "default")
    assert nothing.directory is None


def test_the_environment_of_the_process_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDJOBS_URL", "redis://from.environment:1")

    assert resolve_url().url == "redis://from.environment:1"


def test_the_embedded_default_is_said_aloud_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    first = resolve_url(None, {}, embedded_installed=True)
    resolve_url(None, {}, embedded_installed=True)

    assert (first.scheme, first.source) == ("embedded", "embedded default")
    assert first.directory == tmp_path / ".redjobs"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("redjobs", logging.WARNING)
    assert str(tmp_path / ".redjobs") in record.message
    assert "development" in record.message


def test_a_named_server_is_not_worth_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    resolve_url("embedded://x", {}, embedded_installed=True)
    resolve_url(None, {"REDIS_URL": "redis://b"}, embedded_installed=True)

    assert caplog.records == []


def test_the_directory_of_embedded_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")

    def directory(url: str) -> str:
        return str(resolve(url).directory)

    assert directory("embedded://.redjobs") == f"{tmp_path}/.redjobs"
    assert directory("embedded://./a/b") == f"{tmp_path}/a/b"
    assert directory("embedded:///var/lib/x") == "/var/lib/x"
    assert directory("embedded://~/x") == "/home/somebody/x"
    assert directory("embedded:///a%20b") == "/a b"


def test_the_directory_is_fixed_before_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = resolve("embedded://with space")
    monkeypatch.chdir("/")

    assert server.directory == tmp_path / "with space"
    assert resolve(server.url).directory == server.directory


@pytest.mark.parametrize("url", ["embedded://", "embedded://x?db=1", "embedded://x%00"])
def test_embedded_urls_name_a_directory_and_nothing_else(url: str) -> None:
    with pytest.raises(SettingsError, match=r"embedded://\.redjobs"):
        resolve(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://user:p%2Fw@h:6380/3?socket_timeout=1.5",
        "rediss://:pw@h:6380?ssl_ca_certs=/x.pem&ssl_cert_reqs=required",
        "unix:///run/redis.sock?db=2",
        "unix://user@/run/redis.sock?password=pw",
        "redis://[::1]:6379/0",
        "REDIS://localhost",
        "redis+sentinel://a,b:26380,[::1]:1/mymaster",
        "redis+cluster://a,b:7001",
        "rediss+cluster://u:p@a:1/0?max_connections=5",
        "rediss+sentinel://u:p%2C@a/my%20master/3?sentinel_password=x&ssl_ca_certs=/x.pem&socket_timeout=2",
    ],
)
def test_urls_that_work(url: str) -> None:
    assert resolve(url).scheme == url.partition(":")[0].lower()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "did you mean redis://localhost:6379"),
        ("rediss:/h:1/0", "did you mean rediss://h:1/0"),
        ("redsi://h", "did you mean redis://"),
        ("redi://h", "did you mean redis"),
        ("redis+ring://h", "redis://, rediss://, unix://, embedded://"),
        ("http://h", "There are redis://"),
        ("redis://h:port", "percent-encoded"),
        ("redis://h:99999", "a port is a number up to 65535"),
        ("redis://h/jobs", "number of a database"),
        ("redis://h/0#1", "%23"),
        ("redis://h?db=one", "db must be a number"),
        ("redis://h?socket_timeout=0", "socket_timeout must be a number above 0"),
        ("redis://h?socket_timeout=inf", "socket_timeout must be a number above 0"),
        ("redis://h?socket_connect_timeout=nan", "socket_connect_timeout must be a number above 0"),
        ("redis://h?max_connections=0", "max_connections must be a number above 0"),
        ("redis://h?socket_timout=1", "did you mean socket_timeout"),
        ("redis://h?ssl_ca_certs=x", "unknown option 'ssl_ca_certs'"),
        ("redis://h?decode_responses=True", "bytes"),
        ("redis://h?protocol=3", "protocol"),
        ("redis://h?retry_on_timeout=yes", "sent twice"),
        ("redis+sentinel://a,b", "call the primary"),
        ("redis+sentinel://a,b/0", "call the primary"),
        ("redis+sentinel://a,b/jobs/one", "number of a database"),
        ("redis+sentinel://a,b:c/jobs", "hosts cannot be read"),
        ("redis+sentinel://a,b:99999/jobs", "hosts cannot be read"),
        ("redis+sentinel:///jobs", "hosts cannot be read"),
        ("redis+sentinel://a/jobs?sentinel_pasword=x", "did you mean sentinel_password"),
        ("redis+sentinel://a/jobs?ssl_ca_certs=x", "unknown option 'ssl_ca_certs'"),
        ("redis+sentinel://a/jobs#1", "%23"),
        ("rediss+sentinel://a/jobs?ssl_cert_reqs=none", "REDJOBS_INSECURE_TLS"),
        ("redis+cluster://a/1", "no databases"),
        ("redis+cluster://a?db=1", "unknown option 'db'"),
        ("redis+sentinal://a/jobs", "did you mean redis+sentinel://"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix://redis.sock", "absolute path"),
    ],
)
def test_urls_that_do_not_work_say_why(url: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(REDIS_URL=url)

    assert says in str(caught.value)
    assert "$REDIS_URL" in str(caught.value)


def test_something_far_from_every_scheme_gets_no_guess() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve("https://h")

    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_check_hostname=false"])
def test_a_url_cannot_switch_off_the_checks_of_tls(option: str) -> None:
    with pytest.raises(SettingsError, match="REDJOBS_INSECURE_TLS"):
        resolve(f"rediss://h?{option}")


def test_the_checks_of_tls_are_switched_off_by_name_and_said_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert resolve("rediss://:pw@h").verify_tls
    assert resolve("rediss://:pw@h", REDJOBS_INSECURE_TLS="0").verify_tls
    assert caplog.records == []

    assert not resolve("rediss://:pw@h", REDJOBS_INSECURE_TLS="1").verify_tls
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "pw" not in caplog.text

    with pytest.raises(SettingsError, match="REDJOBS_INSECURE_TLS"):
        resolve("rediss://:pw@h", REDJOBS_INSECURE_TLS="perhaps")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@h:1/0", "redis://:***@h:1/0"),
        ("rediss://user:hunter2@h", "rediss://user:***@h"),
        ("redis://user@h", "redis://user@h"),
        ("unix:///a.sock?db=1&password=hunter2", "unix:///a.sock?db=1&password=***"),
        ("unix://u@/a.sock?password=hunter2&db=1", "unix://u@/a.sock?password=***&db=1"),
        ("rediss://h?ssl_password=hunter2", "rediss://h?ssl_password=***"),
        ("redis://h?PASSWORD=hunter2", "redis://h?PASSWORD=***"),
        ("redis://h:1/0?client=a@b", "redis://h:1/0?client=a@b"),
        ("embedded:///a:b@c", "embedded:///a:b@c"),
        ("unix:///a:b@c", "unix:///a:b@c"),
        (":hunter2@h:6379", ":***@h:6379"),
        ("redis://:hunter2", "redis://:***"),
        ("redis+sentinel://a:1,b:2,[::1]:3/m", "redis+sentinel://a:1,b:2,[::1]:3/m"),
        (
            "redis+sentinel://:hunter2@a:1,b/m?sentinel_password=hunter2",
            "redis+sentinel://:***@a:1,b/m?sentinel_password=***",
        ),
    ],
)
def test_passwords_are_replaced(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize("mark", list("/?#@:%&= "))
@pytest.mark.parametrize(
    "form",
    [
        "redis+sentinel://:{}@a,b:1/m",
        "redis+sentinel://u:{}@a",
        "redis://:{}@h:1/0",
        "redis://user:{}@h",
        "{}@h",
        ":{}@h:1",
        "redsi://:{}@h",
        "rediss://u:{}@h?db=x",
    ],
)
def test_no_error_shows_any_part_of_a_password(form: str, mark: str) -> None:
    # Unescaped, such a password makes a URL that parsers split in the wrong place.
    password = f"canary{mark}canary"
    if form == "{}@h":
        password = f"user:{password}"

    with pytest.raises(SettingsError) as caught:
        resolve(form.format(password))
        raise SettingsError(str(resolve(form.format(password))))  # where it is valid

    assert "canary" not in str(caught.value)


def test_a_server_does_not_show_its_password() -> None:
    server = resolve("redis://:canary@h:1/0?password=canary")

    assert "canary" not in f"{server} {server!r} {server.source}"
    assert str(server) == "redis://:***@h:1/0?password=***"


def test_the_hosts_of_a_url() -> None:
    server = resolve("rediss+sentinel://u:pw@a,b:26380,[::1]:1/my%20master/3?sentinel_password=x&db=4")
    hosts = server.hosts

    assert hosts is not None
    assert hosts.addresses == (("a", 26379), ("b", 26380), ("::1", 1))
    assert hosts.service == "my master"
    assert hosts.credentials == (("password", "x"),)
    assert hosts.url == "rediss://u:pw@a:26379/3?db=4"
    assert "pw" not in f"{hosts} {hosts!r}"
    assert server.is_tls and server.is_sentinel and not server.is_cluster
    assert resolve("redis://h").hosts is None


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://redis.example.org", True),
        ("redis://10.0.0.7:6379/0", True),
        ("redis://user@redis.example.org", True),
        ("redis+sentinel://localhost,watcher-2/mymaster?sentinel_password=x", True),
        ("redis+cluster://node-1:7001,node-2:7002", True),
        ("redis://:secret@redis.example.org", False),
        ("redis://redis.example.org?password=secret", False),
        ("redis+sentinel://:secret@watcher-1,watcher-2/mymaster", False),
        ("rediss://redis.example.org", False),
        ("rediss+cluster://node-1:7001", False),
        ("redis://localhost:6379/0", False),
        ("redis://127.0.0.2", False),
        ("redis://[::1]:6379", False),
        ("redis:///3", False),
        ("unix:///run/redis.sock", False),
        ("embedded:///var/lib/redjobs", False),
    ],
)
def test_who_needs_neither_a_password_nor_a_key_to_read_along(url: str, is_open: bool) -> None:
    assert resolve(url).is_open is is_open
