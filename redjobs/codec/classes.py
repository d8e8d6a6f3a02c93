"""Which classes a payload may name, and how their instances are taken apart and rebuilt.

A class is known if it was registered, or if it is an enum or a dataclass of one of `modules`:
the modules of handlers, which the operator named. Only what is already in `sys.modules` is looked
at, and only in `__dict__`s, since `getattr` on a module may run code that imports others.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple

from redjobs.codec import ext
from redjobs.codec.ext import Unencodable
from redjobs.errors import PayloadError

_MAX_TEXT: Final = 80

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

BUILT_IN: Final[tuple[type, ...]] = (
    type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset, *ext.SCALARS,
)  # fmt: skip
"""The types that have a form of their own in a payload. datetime stands before date, its base."""


class Registered(NamedTuple):
    cls: type
    name: str
    encode: Callable[[Any], object]
    decode: Callable[[Any], Any]


class Fields(NamedTuple):
    """The fields of a dataclass, by what rebuilding does with them."""

    names: tuple[str, ...]
    init: frozenset[str]
    required: frozenset[str]


class Classes:
    """The classes that one codec knows. Grows only; safe to read from any thread."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules
        self.by_type: dict[type, Registered] = {}
        self.by_name: dict[str, Registered] = {}
        self._fields: dict[type, Fields] = {}

    def register(self, entry: Registered) -> None:
        if not isinstance(entry.cls, type):
            raise TypeError(f"register() takes a class, not {entry.cls!r}")
        if entry.cls in BUILT_IN:
            raise ValueError(f"{entry.cls!r} has a form of its own and cannot be registered")
        if not NAME.fullmatch(entry.name):
            raise ValueError(f"name={entry.name!r}: use 1 to 64 of A-Z a-z 0-9 _ . -")
        taken = self.by_name.get(entry.name)
        # A module that is reloaded registers a new class of the same name: the new one counts.
        if taken is not None and _full_name(taken.cls) != _full_name(entry.cls):
            raise ValueError(f"name={entry.name!r} is taken by {taken.cls!r}")
        other = self.by_type.get(entry.cls)
        if other is not None and other.name != entry.name:
            raise ValueError(f"{entry.cls!r} is registered already, as {other.name!r}")
        self.by_name[entry.name] = entry
        self.by_type[entry.cls] = entry

    def find(self, name: str) -> type | None:
        """The enum or dataclass called `module:qualname`, or None. Never imports."""
        module, _, qualname = name.partition(":")
        if module not in self.modules:
            return None
        found: object = sys.modules.get(module)
        for part in qualname.split("."):
            found = getattr(found, "__dict__", {}).get(part)
            if not isinstance(found, type):
                return None
        if not isinstance(found, type) or _full_name(found) != name:
            return None  # a class of another module that was merely imported there
        return found if is_enum(found) or is_dataclass(found) else None

    def name_of(self, cls: type) -> str:
        """The name under which `find` finds this class. Raises Unencodable with the remedy."""
        name = _full_name(cls)
        if self.find(name) is cls:
            return name
        if "<locals>" in name:
            raise Unencodable("it is defined inside a function: move it to the top of its module")
        raise Unencodable(
            f"no handler is defined in module {cls.__module__!r}: define it in the module of its"
            " handler, or register it with codec.register()"
        )

    def fields(self, cls: type) -> Fields:
        """How a dataclass is rebuilt. Raises Unencodable if it cannot be."""
        plan = self._fields.get(cls)
        if plan is None:
            plan = self._fields[cls] = _inspect_fields(cls)
        return plan

    def rebuild(self, cls: type, values: dict[str, Any]) -> object:
        """A dataclass from its fields. Runs its constructor, and so `__post_init__`.

        A field with a default may be missing: it may be younger than the job. Afterwards each
        field is set to what was sent, so that fields without `init`, and a `__post_init__` that
        changes fields, come out as they went in.
        """
        plan = self.fields(cls)
        if unknown := values.keys() - set(plan.names):
            raise PayloadError(f"cannot decode {cls!r}: it has no field {bounded(min(unknown))}")
        if missing := plan.required - values.keys():
            raise PayloadError(f"cannot decode {cls!r}: field {min(missing)!r} is missing")
        built: object = cls(**{name: values[name] for name in values if name in plan.init})
        for name, value in values.items():
            object.__setattr__(built, name, value)
        return built


def is_enum(cls: type) -> bool:
    # Without members, calling the class would create a new enum.
    return issubclass(cls, Enum) and bool(cls.__members__)


def is_dataclass(cls: type) -> bool:
    # A dataclass that is also a list, say, is more than its fields.
    return dataclasses.is_dataclass(cls) and not issubclass(cls, (Enum, *BUILT_IN))


def _full_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def bounded(text: str) -> str:
    """A text from a payload, fit for a message: no control characters, and not endless."""
    return repr(text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…")


def _inspect_fields(cls: type) -> Fields:
    fields = dataclasses.fields(cls)
    init = [field.name for field in fields if field.init]
    try:
        inspect.signature(cls).bind(**dict.fromkeys(init))
    except (TypeError, ValueError):
        raise Unencodable(
            "its constructor does not take exactly its fields (InitVar, or an __init__ of its"
            " own): register it with codec.register()"
        ) from None
    missing = dataclasses.MISSING
    return Fields(
        names=tuple(field.name for field in fields),
        init=frozenset(init),
        required=frozenset(
            field.name
            for field in fields
            if field.init and field.default is missing and field.default_factory is missing
        ),
    )
