"""What a script may not do, it leaves alone: keys of a wrong type, and commands that an ACL denies.

Redis does not roll back. So each script reads every key before it writes, and writes in an order
in which it may end anywhere.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redjobs import commands
from redjobs.commands import SCRIPTS
from redjobs.keys import Keys
from tests.lua.scenes import SCENES
from tests.lua.seeds import Lab
from tests.servers import Server

WRITES = {"DEL", "HDEL", "HINCRBY", "HSET", "LPUSH", "LREM", "LTRIM", "RPUSH", "SET", "ZADD", "ZREM"}

every_script = pytest.mark.parametrize("name", SCRIPTS)


def commands_of(name: str) -> list[str]:
    """The commands that a script uses, in the order in which they first appear in it."""
    found = re.findall(r"redis\.call\('([A-Z]+)'", SCRIPTS[name].text)
    return list(dict.fromkeys(found))


def spoil(lab: Lab, key: str) -> None:
    """Put something of a wrong type at a key."""
    holds_text = key.startswith(lab.keys.unique(""))
    lab.redis.delete(key)
    if holds_text:
        lab.redis.lpush(key, "no string")
    else:
        lab.redis.set(key, "a string")


@pytest.mark.row(26)
@every_script
@pytest.mark.unchecked("each key in turn is spoiled")
def test_a_key_of_a_wrong_type_is_an_error_and_nothing_changes(server: Server, name: str) -> None:
    scene = SCENES[name][0]
    count = len(scene(Lab(server, Keys("count"))).keys)
    for position in range(count):
        lab = Lab(server, Keys(f"queue-{position}"))
        command = scene(lab)
        if name == "recover" and command.keys[position].startswith(lab.keys.job("")):
            continue  # it leaves that one where it is, and goes on: see test_recover.py
        spoil(lab, command.keys[position])
        before = lab.dump()
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            lab.run(command)
        assert lab.dump() == before, f"with a spoiled {command.keys[position]}"


class Restricted:
    """The same queue as a user that may do everything but one command."""

    def __init__(self, lab: Lab, denied: str) -> None:
        lab.redis.execute_command("ACL", "SETUSER", "restricted", "reset", "on", "nopass", "~*", "+@all")
        lab.redis.execute_command("ACL", "SETUSER", "restricted", f"-{denied.lower()}")
        self.lab = lab
        self.client = lab.server.client(username="restricted", password="")

    def refuses(self, command: Any) -> bool:
        try:
            self.lab.run_as(self.client, command)
        except ResponseError as error:
            assert re.search("permissions to run|can't run this command", str(error)), error
            return True
        return False


def recover_all(lab: Lab) -> None:
    """All workers die, and a sweep gives their jobs to others."""
    for worker in lab.redis.zrange(lab.keys.workers, 0, -1):
        lab.run(commands.retire(lab.keys, worker.decode(), clean=False))
    for worker in lab.redis.zrange(lab.keys.retired, 0, -1):
        while lab.processing(worker.decode()):
            lab.recover(worker.decode(), charge=False)


def finish(lab: Lab) -> dict[str, Any]:
    """Everything that is due is run: what comes of it."""
    recover_all(lab)
    run = lab.drain()
    recover_all(lab)
    contents = lab.contents()
    return {
        "run": len(run),
        "run twice": len(run) - len(set(run)),
        "later": len(contents.scores.get("scheduled", {})),
        "dead": len(contents.scores.get("dead", {})),
        "completed": len(contents.scores.get("completed", {})),
        "unique": sorted(contents.unique),
    }


@pytest.mark.row(27)
@every_script
def test_a_denied_command_loses_no_job_and_runs_none_twice(server: Server, name: str) -> None:
    needed = set()
    for scene in SCENES[name]:
        undisturbed = Lab(server, Keys(scene.__name__))
        undisturbed.run(scene(undisturbed))
        expected = finish(undisturbed)
        for denied in commands_of(name):
            lab = Lab(server, Keys(f"{scene.__name__}-without-{denied.lower()}"))
            command = scene(lab)
            restricted = Restricted(lab, denied)
            before = lab.dump()
            if restricted.refuses(command):
                needed.add(denied)
                assert denied in WRITES or lab.dump() == before, f"without {denied}"
                restricted.refuses(command)
            if (name, denied) == ("reschedule", "LREM"):
                # It may run at both times: to see this in advance would cost O(N) once more.
                lab.redis.delete(lab.keys.list_of(5))
            lab.run(command)
            assert finish(lab) == expected, f"after {denied} was denied"
    assert needed == set(commands_of(name)), "the scenes do not need each of its commands"
