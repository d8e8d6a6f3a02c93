"""Ids, tokens and names: sorted by time, unique in bulk, and safe inside a key."""

from __future__ import annotations

import os
import re
import socket
import string
import time

import pytest

from redjobs.errors import SettingsError
from redjobs.ids import check_name, is_id, new_id, new_token, new_worker, priority_of, worker_host


def test_ids_sort_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    # Across every carry of the base, and for a lifetime.
    moments = [0.0, 0.001, 0.063, 0.064, 4.095, 4.096, 1e6, 1.7e9, 1.7e9 + 0.001, 1.8e9, 4.2e9, 9.9e9]
    made = []
    for moment in moments:
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        made.append(new_id())
    assert sorted(made) == made


def test_ids_of_one_millisecond_are_all_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1.7e9)
    assert len({new_id() for _ in range(200_000)}) == 200_000


def test_an_id_is_twenty_url_safe_characters_and_begins_with_a_letter() -> None:
    allowed = set(string.ascii_letters + string.digits + "-_")
    for _ in range(1_000):
        made = new_id()
        assert len(made) == 20
        assert set(made) <= allowed
        assert made[0] in string.ascii_letters + "_", "a dash would look like an option of a command"


@pytest.mark.parametrize("priority", [1, -1, 7, -10, 10**15, -(10**15)])
def test_an_id_carries_its_priority(priority: int) -> None:
    made = new_id(priority)
    assert made.endswith(f".{priority}")
    assert priority_of(made) == priority
    assert is_id(made)


def test_an_ordinary_id_carries_no_priority() -> None:
    assert "." not in new_id(0)
    assert priority_of(new_id()) == 0


def test_ids_of_other_priorities_sort_by_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for moment, priority in [(1.7e9, 9), (1.7e9 + 1, -5), (1.7e9 + 2, 0), (1.7e9 + 3, 100)]:
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        made.append(new_id(priority))
    assert sorted(made) == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reminder:7",
        "0" * 20,
        "-" + "a" * 19,
        "z" * 19,
        "z" * 21,
        "z" * 20 + ".",
        "z" * 20 + ".0",
        "z" * 20 + ".-0",
        "z" * 20 + ".07",
        "z" * 20 + ".+7",
        "z" * 20 + ".7.7",
        "z" * 20 + ".x",
        "z" * 20 + "." + "9" * 17,
        "z" * 20 + "\n",
        "z" * 19 + "é",
        "z" * 19 + "}",
        "z" * 20 + ".٣",
    ],
)
def test_what_is_no_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize("priority", [0, 3, -3])
def test_what_is_an_id(priority: int) -> None:
    assert is_id(new_id(priority))


def test_tokens_never_repeat() -> None:
    tokens = {new_token() for _ in range(100_000)}
    assert len(tokens) == 100_000
    assert all(len(token) == 12 for token in tokens)


def test_a_worker_says_who_it_is_and_is_never_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "web-1.example.com")
    monkeypatch.setattr(os, "getpid", lambda: 4711)
    one, other = new_worker(), new_worker()
    assert one != other
    assert re.fullmatch(r"web-1-example-com\.4711\.\S{8}", one)


@pytest.mark.parametrize("host", ["", "...", "a" * 300, "höst{1}:\n", "-"])
def test_a_worker_has_a_safe_name_on_any_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert check_name("worker", new_worker())


def test_the_pods_of_one_deployment_are_told_apart() -> None:
    """Their names differ at the end only, and `check worker` asks for the leases of its own."""
    deployment = "orders-confirmation-mails-worker-production-5d89d5c7f4"
    pods = [f"{deployment}-{end}" for end in ("abcde", "abcdf", "x2x4z")]
    hosts = [worker_host(pod) for pod in pods]
    assert len(set(hosts)) == len(pods)
    assert all(host.startswith(deployment[:30]) for host in hosts)
    assert all(len(f"{host}.{2**22}.{new_token()[:8]}") <= 64 for host in hosts)
    assert (
        worker_host("shop-worker-7c9d8b5f6d-x2x4z-longer-name") == "shop-worker-7c9d8b5f6d-x2x4z-longer-name"
    )


@pytest.mark.parametrize("name", ["a", "default", "mail-2.eu_west", "A" * 64, "7", ".", "-", "_"])
def test_names_that_can_stand_in_a_key(name: str) -> None:
    assert check_name("queue", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "}",
        "{",
        "{a}",
        "a:b",
        "a\n",
        "\n",
        "a\0",
        "a b",
        "é",
        "٣",
        "a" * 65,
        "a/b",
        "a*",
        None,
        7,
        b"mail",
    ],
)
def test_names_that_would_break_a_key_are_refused_with_the_rule(name: object) -> None:
    with pytest.raises(SettingsError, match="cannot name a queue: use 1 to 64 letters, digits"):
        check_name("queue", name)  # type: ignore[arg-type]
