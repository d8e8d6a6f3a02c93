"""Behind a child that died: a queue that is refused keeps the jobs of no other waiting."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redjobs.commands import Command
from redjobs.keys import Keys
from redjobs.worker.salvage import Salvage

REFUSED, FINE = Keys("refused"), Keys("fine")


class Link:
    """A server that has one job in each list, and answers for one queue only."""

    def __init__(self) -> None:
        self.recovered: list[str] = []

    def run(self, command: Command[Any]) -> Any:
        if command.keys[0].startswith("redjobs:{refused}"):
            raise ResponseError("its node does not answer")
        if command.script.name == "recover":
            self.recovered.append(command.keys[0])
            return 1, 0
        return ["VP7FAta-Fn_YcVoOqbCs"]


def test_the_other_queues_of_a_dead_child_are_cleared_up() -> None:
    link: Any = Link()
    salvage = Salvage(link)
    child: Any = SimpleNamespace(
        lanes=[(REFUSED, "w"), (FINE, "w")], overran=[], obituary=lambda: "", last_words=lambda: ""
    )
    salvage.add(child, [], charge=False)
    with pytest.raises(ResponseError, match="does not answer"):
        salvage.step()
    assert link.recovered == [FINE.processing("w")]
