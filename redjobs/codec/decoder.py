"""Bytes to a value. Bytes from the server are not trusted: all that is raised is PayloadError."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

import msgpack

from redjobs.codec import ext, limits
from redjobs.codec.classes import Classes, bounded, is_dataclass, is_enum
from redjobs.codec.ext import Unencodable
from redjobs.errors import JobTimeout, PayloadError

#: The first and the last byte of a call without names: an array of two, an empty map.
_PAIR, _NO_NAMES = 0x92, 0x80


class Decoder:
    """Builds values of the types in the table. Holds no state between calls."""

    def __init__(self, classes: Classes, *, max_bytes: int, max_depth: int, max_items: int) -> None:
        self.classes = classes
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self.max_items = max_items
        # Anything this short can neither be too deep nor hold too many items.
        self.harmless = min(max_depth, max_items, max_bytes)
        self.containers: dict[int, Callable[[list[Any]], object]] = {
            ext.TUPLE: tuple,
            ext.SET: partial(_set, set),
            ext.FROZENSET: partial(_set, frozenset),
            ext.ENUM: self._enum,
            ext.DATACLASS: self._dataclass,
            ext.REGISTERED: self._registered,
        }
        self.unpack: Callable[[bytes], Any] = partial(
            msgpack.unpackb,
            ext_hook=self._ext,
            object_pairs_hook=_dict,
            strict_map_key=False,
        )

    def decode(self, data: bytes, frame: int = 0) -> Any:
        """The value of `data`. `frame` levels, of two items each, do not count to the limits."""
        size = len(data)
        if size > self.max_bytes:
            raise PayloadError(
                f"cannot decode: the payload is {size:,} bytes, max_bytes is {self.max_bytes:,}"
            )
        if size > self.harmless or b"\xff" in data:
            limits.check(data, self.max_depth, self.max_items, frame)
        try:
            return self.unpack(data)
        except (PayloadError, JobTimeout, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - garbage finds every exception of msgpack
            # Its text is left out: it can quote the payload, and payloads do not belong in logs.
            raise PayloadError(f"cannot decode: not a payload ({type(error).__name__})") from None

    def plain_args(self, data: bytes) -> list[Any] | None:
        """The arguments of a short call without names, as most are; None: it takes `decode` to say.

        `[args, {}]` is a header, the arguments and one byte for no names. If that last byte belonged to
        something else, the arguments would not end just before it.
        """
        if data[0] != _PAIR or data[-1] != _NO_NAMES or len(data) > self.harmless or b"\xff" in data:
            return None
        try:
            args = self.unpack(data[1:-1])
        except (JobTimeout, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - `decode` finds it, too, and says what it is
            return None
        return args if type(args) is list else None

    def _ext(self, code: int, data: bytes) -> object:
        if scalar := ext.SCALAR_DECODERS.get(code):
            try:
                return scalar(data)
            except (ValueError, ArithmeticError):
                raise PayloadError(f"cannot decode: ext code {code} holds no such value") from None
        build = self.containers.get(code)
        if build is None:
            raise PayloadError(f"cannot decode: unknown ext code {code}")
        # An array and nothing else, so that each ext in an ext is a level to the limits.
        if not data or not limits.is_array(data[0]):
            raise PayloadError(f"cannot decode: ext code {code} does not hold one array")
        return build(self.unpack(data))

    def _named(self, content: list[Any], kind: str) -> tuple[str, Any]:
        if len(content) != 2 or type(content[0]) is not str:
            raise PayloadError(f"cannot decode: {kind} is not a name and a value")
        return content[0], content[1]

    def _known(self, name: object, is_kind: Callable[[type], bool]) -> type:
        cls = self.classes.find(name) if type(name) is str else None
        if cls is None or not is_kind(cls):
            shown = bounded(name) if type(name) is str else type(name).__name__
            raise PayloadError(
                f"cannot decode: {shown} is no enum or dataclass of a module with handlers;"
                " was it moved or renamed since the job was enqueued?"
            )
        return cls

    def _enum(self, content: list[Any]) -> object:
        name, value = self._named(content, "an enum member")
        cls = self._known(name, is_enum)
        try:
            member: object = cls(value)
        except (PayloadError, JobTimeout, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - `_missing_` is the user's code: it may raise anything
            member = None
        if type(member) is not cls:
            raise PayloadError(f"cannot decode {cls!r}: it has no member of this value")
        return member

    def _dataclass(self, content: list[Any]) -> object:
        names = content[1::2]
        if len(content) % 2 == 0 or not all(type(name) is str for name in names):
            raise PayloadError("cannot decode: a dataclass is not a name and its fields")
        cls = self._known(content[0], is_dataclass)
        values = dict(zip(names, content[2::2], strict=True))
        if len(values) != len(names):
            raise PayloadError(f"cannot decode {cls!r}: a field is there twice")
        try:
            return self.classes.rebuild(cls, values)
        except (PayloadError, JobTimeout, MemoryError):
            raise
        except Unencodable as error:
            raise PayloadError(f"cannot decode {cls!r}: {error}") from None
        except Exception as error:
            raise PayloadError(
                f"cannot decode {cls!r}: its constructor raised {type(error).__name__}"
            ) from error

    def _registered(self, content: list[Any]) -> object:
        name, plain = self._named(content, "a registered value")
        entry = self.classes.by_name.get(name)
        if entry is None:
            raise PayloadError(
                f"cannot decode: no type is registered as {bounded(name)};"
                " call codec.register() in the worker too"
            )
        try:
            value: object = entry.decode(plain)
        except (PayloadError, JobTimeout, MemoryError):
            raise
        except Exception as error:
            raise PayloadError(
                f"cannot decode {entry.cls!r}: decode() of {name!r} raised {type(error).__name__}"
            ) from error
        if type(value) is not entry.cls:
            raise PayloadError(f"cannot decode {entry.cls!r}: decode() of {name!r} returned {type(value)!r}")
        return value


def _dict(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    pairs = list(pairs)  # older versions of msgpack without its extension pass an iterator
    values = dict(pairs)
    if len(values) != len(pairs):
        raise PayloadError("cannot decode: a key stands twice in a dict")
    return values


def _set(kind: Callable[[list[Any]], Collection[Any]], content: list[Any]) -> Collection[Any]:
    values = kind(content)
    if len(values) != len(content):
        raise PayloadError("cannot decode: an element stands twice in a set")
    return values
