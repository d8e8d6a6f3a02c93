"""The functions of the jobs in the files. Their names stand there: none is ever renamed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from redjobs.registry import registry
from tests.worker.handlers import note


class Colour(Enum):
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int


class Money:
    """A type that is registered."""

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def __repr__(self) -> str:
        return f"Money({self.amount})"


registry.codec.register(Money, name="golden-money", encode=lambda money: money.amount, decode=Money)


def send(user_id: int, template: str = "plain") -> None:
    note("end")


def carry(*values: Any, **named: Any) -> None:
    note("end")
