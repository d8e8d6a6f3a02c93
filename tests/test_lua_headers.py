"""The header of a Lua file is a contract: with its body, with commands/, and with the server."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pytest
from redis import Redis

from redjobs import commands
from redjobs.commands import SCRIPTS, Command, Finished
from redjobs.jobs import Claim, JobOptions, NewJob
from redjobs.keys import BELL, Keys

TEXTS = {
    path.name.removesuffix(".lua"): path.read_text(encoding="utf-8")
    for path in files("redjobs.lua").iterdir()
    if path.name.endswith(".lua")
}
every_script = pytest.mark.parametrize("name", sorted(TEXTS))

_PARAMETER = re.compile(r"-- (KEYS|ARGV)\[(\d+)(\.\.\.)?\] +(\w+) +(.+)")
_VALUE = r"(?:tonumber\()?(?:KEYS|ARGV)\[\d+\]\)?(?: or -?math\.huge)?"
_BINDING = re.compile(rf"local ([\w, ]+) = ({_VALUE}(?:, {_VALUE})*)")


@dataclass(frozen=True)
class Parameter:
    """One line `-- KEYS[2] ready  list  ids that are due` of a header."""

    table: str
    position: int
    variadic: bool
    name: str
    type: str


def split(name: str) -> tuple[list[str], list[str]]:
    """The lines of a file's header, and those of its body."""
    lines = TEXTS[name].splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    return lines[:end], lines[end:]


def parameters(name: str, table: str) -> list[Parameter]:
    """What a header says about KEYS or ARGV."""
    header, _ = split(name)
    found = [match.groups() for line in header if (match := _PARAMETER.match(line))]
    return [
        Parameter(which, int(position), bool(dots), parameter, rest.split()[0])
        for which, position, dots, parameter, rest in found
        if which == table
    ]


def fixed(name: str, table: str) -> list[str]:
    """The names of the parameters that each call has, in their order."""
    return [each.name for each in parameters(name, table) if not each.variadic]


def bindings(name: str) -> tuple[list[str], list[str]]:
    """The lines that bind names to KEYS and ARGV, at the head of a body; and the rest of it."""
    _, body = split(name)
    count = 0
    while count < len(body) and _BINDING.fullmatch(body[count]):
        count += 1
    return body[:count], body[count:]


# The header and the body ----------------------------------------------------------------------


def test_the_folder_and_commands_list_the_same_scripts() -> None:
    assert sorted(TEXTS) == sorted(SCRIPTS)
    assert {name for name in SCRIPTS if not callable(getattr(commands, name, None))} == set()


@every_script
def test_the_header_says_what_it_does_what_it_answers_and_what_it_costs(name: str) -> None:
    header, _ = split(name)
    assert re.fullmatch(rf"-- {name}: .+", header[0])
    assert header[1] == "--"
    words = [line.split()[1].split("[")[0] for line in header[2:]]
    expected = ["KEYS"] * len(parameters(name, "KEYS")) + ["ARGV"] * len(parameters(name, "ARGV"))
    assert words == [*expected, "REPLY", "COST", "BUILDS"]


@every_script
@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
def test_parameters_are_numbered_and_only_the_last_is_variadic(name: str, table: str) -> None:
    found = parameters(name, table)
    assert [each.position for each in found] == list(range(1, len(found) + 1))
    assert not any(each.variadic for each in found[:-1])
    types = {"KEYS": {"list", "zset", "hash", "str"}, "ARGV": {"str", "int"}}[table]
    assert all(each.type in types for each in found if not each.variadic)


@every_script
@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
def test_names_are_bound_as_the_header_gives_them(name: str, table: str) -> None:
    bound: list[str] = []
    for line in bindings(name)[0]:
        match = _BINDING.fullmatch(line)
        assert match is not None
        indices = re.findall(rf"{table}\[(\d+)\]", match[2])
        if indices:
            names = match[1].split(", ")
            assert [int(index) for index in indices] == [len(bound) + i for i in range(1, len(names) + 1)]
            bound += names
    assert bound == fixed(name, table)


@every_script
@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
def test_elsewhere_only_the_variadic_tail_is_used_without_a_name(name: str, table: str) -> None:
    _, rest = bindings(name)
    uses = re.findall(rf"{table}\[([^\]]+)\]", "\n".join(rest))
    variadic = any(each.variadic for each in parameters(name, table))
    assert not any(use.isdigit() for use in uses)
    assert variadic or (not uses and f"#{table}" not in "\n".join(rest))


@every_script
def test_no_script_does_what_is_forbidden(name: str) -> None:
    _, body = split(name)
    code = "\n".join(re.sub(r"--.*", "", line) for line in body)
    calls = re.findall(r"redis\.call\(([^,)]*)", code)
    assert all(re.fullmatch(r"'[A-Z]+'", call) for call in calls), "a command is a constant"
    used = {call.strip("'") for call in calls}
    assert not used & {"KEYS", "SCAN", "FUNCTION", "EVAL", "BRPOPLPUSH", "RPOPLPUSH", "FLUSHDB"}
    forbidden = r"\b(pcall|cmsgpack|cjson|struct|bit|os|io|loadstring|load|dofile|require|setfenv|_G)\b"
    assert re.findall(forbidden, code) == []
    assert not re.search(r"(KEYS|ARGV)\[[^\]]*\] *\.\.|\.\. *(KEYS|ARGV)\[", code), "a key is built"


# The header and commands/ ---------------------------------------------------------------------

Q = Keys("queue", "prefix")
ID = "VP7C7zquOs9S12fhK3MA.5"
CLAIM = Claim(ID, "queue", "worker", "token", "a:b", b"", 1, 0, 1, 1, 1, b"", b"", "key", 1)
NEW = NewJob(ID, "a:b", b"args", JobOptions(priority=5, key="key", max_attempts=3), "+1000")

SAMPLES: dict[str, Command[Any]] = {
    "begin": commands.begin(Q, "worker", "token", [ID]),
    "bury": commands.bury(Q, CLAIM, b"errors"),
    "cancel": commands.cancel(Q, ID, "key"),
    "cancels": commands.cancels(Q, [ID]),
    "complete": commands.complete(Q, "worker", "token", [Finished(ID, "key", 1_000, b"result")]),
    "delete": commands.delete(Q, Q.dead, [ID]),
    "discard": commands.discard(Q, CLAIM),
    "enqueue": commands.enqueue(Q, [NEW]),
    "heartbeat": commands.heartbeat(Q, ["worker"], 15_000),
    "holder": commands.holder(Q, "key"),
    "peek": commands.peek(Q, ID),
    "recover": commands.recover(Q, "worker", [ID])[0],
    "release": commands.release(Q, "worker", "token", [ID])[0],
    "requeue": commands.requeue(Q, ID, "key"),
    "reschedule": commands.reschedule(Q, ID, "+1000"),
    "retire": commands.retire(Q, "worker", clean=True),
    "retry": commands.retry(Q, CLAIM, 1_000, b"errors"),
    "stranded": commands.stranded(Q, ["worker"], keep_ms=1_000),
    "sweep": commands.sweep(Q, dead_age_ms=1_000, dead_max=10),
    "take": commands.take(Q, "worker", 3, [5], (-10, 10)),
}

#: What stands behind each name that headers use, in the samples.
KEY_NAMED = {
    "processing": Q.processing("worker"),
    "job": Q.job(ID),
    "unique": Q.unique("key"),
    "list": Q.list_of(5),
    "place": Q.dead,
    **{
        name: getattr(Q, name)
        for name in (
            "cancels",
            "completed",
            "dead",
            "levels",
            "ready",
            "retired",
            "scheduled",
            "stats",
            "workers",
        )
    },
}
ARGUMENT_NAMED = {
    "id": ID,
    "token": "token",
    "worker": "worker",
    "bell": BELL,
    "priority": 5,
    "key": "key",
    "delay_ms": 1_000,
    "keep_ms": 1_000,
    "run_at": "+1000",
    "errors": b"errors",
}


@every_script
def test_commands_send_the_keys_that_the_header_names(name: str) -> None:
    command = SAMPLES[name]
    names = fixed(name, "KEYS")
    assert command.script.name == name
    assert list(command.keys[: len(names)]) == [KEY_NAMED[key] for key in names]
    variadic = any(each.variadic for each in parameters(name, "KEYS"))
    assert (len(command.keys) > len(names)) == variadic


@every_script
def test_commands_send_the_arguments_that_the_header_names(name: str) -> None:
    command = SAMPLES[name]
    names = fixed(name, "ARGV")
    sent = dict(zip(names, command.args, strict=False))
    told = {argument: ARGUMENT_NAMED[argument] for argument in names if argument in ARGUMENT_NAMED}
    if name == "cancels":
        del told["keep_ms"]  # a constant of its own
    assert sent == {**sent, **told}
    variadic = any(each.variadic for each in parameters(name, "ARGV"))
    assert len(command.args) >= len(names)
    assert (len(command.args) > len(names)) == variadic
    whole = [each.name for each in parameters(name, "ARGV") if each.type == "int" and not each.variadic]
    assert all(isinstance(sent[argument], int) for argument in whole)


@every_script
def test_all_keys_of_a_command_share_one_slot(name: str) -> None:
    assert {re.findall(r"\{[^}]*\}", key)[0] for key in SAMPLES[name].keys} == {"{queue}"}


# The header and the server --------------------------------------------------------------------


@every_script
def test_a_script_is_known_by_the_digest_of_its_file(name: str) -> None:
    script = SCRIPTS[name]
    assert script.text == TEXTS[name]
    assert script.sha == hashlib.sha1(TEXTS[name].encode()).hexdigest()


@pytest.mark.fakeredis
def test_every_server_accepts_every_script(redis: Redis) -> None:
    assert {name: redis.script_load(script.text) for name, script in SCRIPTS.items()} == {
        name: script.sha for name, script in SCRIPTS.items()
    }
