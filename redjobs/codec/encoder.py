"""A value to what msgpack can pack. Refuses what would not come out equal, and names the path.

msgpack itself would quietly take a bytearray for bytes and a tuple for a list, and follows a
cycle for 511 levels. So the walk through containers is made here, in one pass that copies them,
and msgpack only ever sees exact built-in types and our own ext values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgpack

from redjobs.codec import ext
from redjobs.codec.classes import (
    BUILT_IN,
    Classes,
    Registered,
    bounded,
    is_dataclass,
    is_enum,
)
from redjobs.codec.ext import Unencodable
from redjobs.errors import JobTimeout

ATOMS: Final = frozenset({type(None), bool, int, float})
TEXT: Final = frozenset({str, bytes})
SCALARS: Final = ATOMS | TEXT

_CAREFUL_ATOMS: Final = frozenset({type(None), bool, float})
ELSEWHERE: Final = "store the data elsewhere and pass an id"
_GENERIC: Final = "pass an id or plain data, or register the type with codec.register()"


class Refusal(Exception):
    """A value that cannot be encoded. Each level on the way out adds its part of the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.parts: list[str] = []

    def within(self, part: str) -> None:
        self.parts.append(part)

    @property
    def path(self) -> str:
        return "".join(reversed(self.parts))


class Encoder:
    """One walk. `careful` looks at each int and text, which msgpack otherwise checks faster."""

    def __init__(
        self,
        classes: Classes,
        *,
        max_bytes: int,
        max_depth: int,
        max_items: int,
        careful: bool = False,
    ) -> None:
        self.classes = classes
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self.max_items = max_items
        # Not exact: this only stops what would be huge. The end counts bytes, and can say more.
        self.bytes_left = 4 * max_bytes
        self.items_left = max_items
        self.careful = careful
        self.atoms = _CAREFUL_ATOMS if careful else ATOMS
        self.scalars = _CAREFUL_ATOMS if careful else SCALARS

    # -- one value ---------------------------------------------------------------------------------

    def value(self, value: object, depth: int) -> object:
        """`value` for msgpack. `depth` is the number of containers around it."""
        kind = type(value)
        if kind in self.atoms:
            return value
        if method := _METHODS.get(kind):
            return method(self, value, depth)
        try:
            if scalar := ext.SCALARS.get(kind):
                code, encode = scalar
                return _ext(code, encode(value))
            return self._instance(value, kind, depth)
        except Unencodable as error:
            raise Refusal(f"cannot encode {kind!r}; {error}") from None

    def _int(self, value: int, depth: int) -> object:
        if -(1 << 63) <= value < (1 << 64):
            return value
        try:
            return _ext(ext.INT, ext.encode_int(value))
        except Unencodable as error:
            raise Refusal(f"cannot encode {int!r}; {error}") from None

    def _text(self, value: str | bytes, depth: int) -> object:
        self.spend(len(value))
        if self.careful and type(value) is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refusal(
                    f"cannot encode {str!r}; it holds a lone surrogate, which is no text:"
                    " send bytes, for a file name os.fsencode(value)"
                ) from None
        return value

    # -- containers --------------------------------------------------------------------------------

    def enter(self, count: int, depth: int) -> None:
        """Count a container of `count` items that stands inside of `depth` others."""
        if depth >= self.max_depth:
            raise Refusal(f"nested deeper than {self.max_depth} levels, or in itself; {ELSEWHERE}")
        self.count(count)

    def count(self, items: int) -> None:
        self.items_left -= items
        if self.items_left < 0:
            raise Refusal(f"more than {self.max_items:,} items in all; {ELSEWHERE}, or enqueue several jobs")

    def spend(self, characters: int) -> None:
        """Count text before it is packed, since a list may hold one big string a thousand times."""
        self.bytes_left -= characters
        if self.bytes_left < 0:
            raise Refusal(f"more than {self.max_bytes:,} bytes (max_bytes); {ELSEWHERE}")

    def flat(self, values: Collection[object]) -> int | None:
        """The characters in `values` if msgpack can have them all as they are, else None.

        A set of types is several times faster than looking at each value, and most containers
        hold one or two types.
        """
        kinds = set(map(type, values))
        if kinds <= self.atoms:
            return 0
        if kinds <= self.scalars:
            return sum([len(value) for value in values if isinstance(value, (str, bytes))])
        return None

    def _list(self, values: Sequence[object], depth: int) -> Sequence[object]:
        self.enter(len(values), depth)
        if (characters := self.flat(values)) is not None:
            self.spend(characters)
            return values
        out: list[object] = []
        try:
            for item in values:
                out.append(self.value(item, depth + 1))  # noqa: PERF401 - its length tells where
        except Refusal as refusal:
            refusal.within(f"[{len(out)}]")
            raise
        return out

    def _dict(self, values: dict[object, object], depth: int) -> dict[object, object]:
        self.enter(2 * len(values), depth)
        if (keys := self.flat(values)) is not None and (items := self.flat(values.values())) is not None:
            self.spend(keys + items)
            return values
        out: dict[object, object] = {}
        for key, item in values.items():
            try:
                plain = self.value(key, depth + 1)
            except Refusal as refusal:
                refusal.within(f".keys()[{len(out)}]")
                raise
            try:
                out[plain] = self.value(item, depth + 1)
            except Refusal as refusal:
                refusal.within(f"[{_shown(key)}]")
                raise
        return out

    def _tuple(self, values: tuple[object, ...], depth: int) -> object:
        return _nested(ext.TUPLE, self._list(values, depth))

    def _set(self, values: set[object] | frozenset[object], depth: int) -> object:
        code = ext.SET if type(values) is set else ext.FROZENSET
        self.enter(len(values), depth)
        try:
            plain = [self.value(item, depth + 1) for item in values]
        except Refusal as refusal:
            refusal.within("{*}")
            raise
        return _nested(code, plain)

    # -- instances ---------------------------------------------------------------------------------

    def _instance(self, value: Any, kind: type, depth: int) -> object:
        if entry := self.classes.by_type.get(kind):
            return self._registered(entry, value, depth)
        if is_enum(kind):
            return self._enum(value, kind, depth)
        if is_dataclass(kind):
            return self._dataclass(value, kind, depth)
        raise Unencodable(_remedy(kind))

    def _registered(self, entry: Registered, value: object, depth: int) -> object:
        self.enter(2, depth)
        try:
            plain = entry.encode(value)
        except JobTimeout:
            raise
        except Exception as error:
            what = f"encode() of {entry.name!r} raised {type(error).__name__}"
            raise Refusal(f"cannot encode {entry.cls!r}; {what}") from error
        return self._named(ext.REGISTERED, entry.name, plain, f".<{entry.name}>", depth)

    def _enum(self, value: Any, kind: type, depth: int) -> object:
        name = self.classes.name_of(kind)
        self.enter(2, depth)
        content = value._value_
        if not _found_again(kind, content, value):
            raise Unencodable("this member cannot be found by its value: register the class")
        return self._named(ext.ENUM, name, content, ".value", depth)

    def _named(self, code: int, name: str, content: object, part: str, depth: int) -> object:
        try:
            return _nested(code, [name, self.value(content, depth + 1)])
        except Refusal as refusal:
            refusal.within(part)
            raise

    def _dataclass(self, value: object, kind: type, depth: int) -> object:
        flat: list[object] = [self.classes.name_of(kind)]
        names = self.classes.fields(kind).names
        self.enter(1 + 2 * len(names), depth)
        for name in names:
            try:
                content = getattr(value, name)
            except AttributeError:
                raise Unencodable(f"its field {name!r} was never set") from None
            try:
                flat += (name, self.value(content, depth + 1))
            except Refusal as refusal:
                refusal.within(f".{name}")
                raise
        return _nested(ext.DATACLASS, flat)


_METHODS: Final[dict[type, Callable[[Encoder, Any, int], object]]] = {
    int: Encoder._int,
    str: Encoder._text,
    bytes: Encoder._text,
    list: Encoder._list,
    dict: Encoder._dict,
    tuple: Encoder._tuple,
    set: Encoder._set,
    frozenset: Encoder._set,
}


_new_tuple: Final[Callable[..., object]] = tuple.__new__


def _ext(code: int, data: bytes) -> object:
    """`ExtType(code, data)` without the checks of its `__new__`, which take twice as long."""
    return _new_tuple(msgpack.ExtType, (code, data))


def _nested(code: int, values: Sequence[object]) -> object:
    return _ext(code, msgpack.packb(values))


def _shown(key: object) -> str:
    """A key for a path. The `repr` of an instance is the user's code, and may show anything."""
    if type(key) is str:
        return bounded(key)
    return repr(key) if type(key) in (bool, int, float, type(None)) else f"<{type(key).__name__}>"


def _found_again(kind: Callable[[Any], object], content: object, member: object) -> bool:
    """Whether the class finds its member by a copy of the value, which NaN, say, prevents."""
    try:
        return content == content and kind(content) is member  # noqa: PLR0124
    except (ValueError, TypeError):
        return False


def _remedy(kind: type) -> str:
    """What to do about a type that is not in the table, in a few words."""
    if kind in (bytearray, memoryview):
        return "pass bytes(value)"
    base = next((base for base in BUILT_IN if issubclass(kind, base)), None)
    if base is None:
        return _GENERIC
    plain = f"{base.__name__}(value)" if base in _METHODS or base is float else "a plain one"
    return (
        f"it is a subclass of {base.__name__} and would come out as another type:"
        f" pass {plain}, or register it with codec.register()"
    )
