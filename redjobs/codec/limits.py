"""Depth and number of items of a payload, checked on its bytes before anything is built.

Each value takes at least one byte, and each level one byte that only a few headers have. So two
cheap counts prove most payloads harmless, and only the others are scanned header by header.

What counts: a list, tuple, set or dict is one level, and so are an enum member, a dataclass and
a registered value, which are arrays too. Each element of an array is an item, each entry of a
dict is two. `encoder` counts the same way, since it counts the arrays and maps that it writes.
"""

from __future__ import annotations

from typing import Final

from redjobs.codec import ext
from redjobs.errors import PayloadError

NESTING = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""The headers of arrays and maps. In ASCII text and small ints none of these bytes occurs."""

TIMESTAMP_CODE: Final = -1
"""msgpack decodes this ext code itself, without asking us, whatever the options say."""

_TIMESTAMP_BYTE: Final = b"\xff"


def check(data: bytes, max_depth: int, max_items: int, frame: int = 0) -> None:
    """Raise PayloadError where `data` is nested deeper, or holds more items. O(len(data)).

    The `frame` around a call's arguments is that many levels and items, and does not count.
    """
    if (
        len(data) > max_items
        or _TIMESTAMP_BYTE in data
        or len(data) - len(data.translate(None, NESTING)) > max_depth
    ):
        Scan(data, max_depth, max_items, frame).run()


def _whole_size(head: int) -> int:
    """The size of a value whose header alone tells it; 0 for the others."""
    if head <= 0x7F or head >= 0xE0 or head in (0xC0, 0xC2, 0xC3):  # small ints, None, bools
        return 1
    if 0xA0 <= head <= 0xBF:  # a short str
        return 1 + (head & 0x1F)
    return {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}.get(head) or {
        0xD0: 2,
        0xD1: 3,
        0xD2: 5,
        0xD3: 9,
    }.get(head, 0)


_WHOLE: Final = tuple(_whole_size(head) for head in range(256))
# Header to the width of the length that follows it.
_TEXT: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXT: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_ARRAY: Final = {0xDC: 2, 0xDD: 4}
_MAP: Final = {0xDE: 2, 0xDF: 4}
_FIXED_EXT: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


class Scan:
    """One walk over the headers. It stops at the first limit, so it costs at most `max_items`."""

    def __init__(self, data: bytes, max_depth: int, max_items: int, frame: int = 0) -> None:
        self.data = data
        self.max_depth = max_depth
        self.max_items = max_items
        self.outermost = self.items = -frame

    def run(self) -> None:
        try:
            end = self.values(0, 1, self.outermost)
        except IndexError:
            end = -1
        if end != len(self.data):
            raise PayloadError("cannot decode: the payload is cut off, or has bytes after its end")

    def values(self, pos: int, count: int, depth: int) -> int:
        """Pass over `count` values and return the position behind them."""
        data = self.data
        for _ in range(count):
            head = data[pos]
            if size := _WHOLE[head]:
                pos += size
            elif width := _TEXT.get(head):
                pos += 1 + width + self.number(pos + 1, width)
            elif head in _EXT or head in _FIXED_EXT:
                pos = self.ext(pos, depth)
            else:
                pos = self.nested(pos, depth)
        return pos

    def ext(self, pos: int, depth: int) -> int:
        head = self.data[pos]
        width = _EXT.get(head, 0)
        size = self.number(pos + 1, width) if width else _FIXED_EXT[head]
        start = pos + 1 + width + 1
        code = self.data[start - 1]
        if code - 256 == TIMESTAMP_CODE:
            raise PayloadError("cannot decode: unknown ext code -1")
        if code not in ext.CONTAINERS:
            return start + size
        if not is_array(self.data[start]) or self.nested(start, depth) != start + size:
            raise PayloadError(f"cannot decode: ext code {code} does not hold one array")
        return start + size

    def nested(self, pos: int, depth: int) -> int:
        count, start = self.size_of_nested(pos)
        if depth >= self.max_depth:
            raise PayloadError(f"cannot decode: nested deeper than {self.max_depth}")
        self.items += count
        if self.items > self.max_items:
            raise PayloadError(f"cannot decode: more than {self.max_items:,} items")
        return self.values(start, count, depth + 1)

    def size_of_nested(self, pos: int) -> tuple[int, int]:
        """The number of values in an array or map, and where they begin."""
        head = self.data[pos]
        if 0x90 <= head <= 0x9F:
            return head & 0x0F, pos + 1
        if 0x80 <= head <= 0x8F:
            return 2 * (head & 0x0F), pos + 1
        if width := _ARRAY.get(head):
            return self.number(pos + 1, width), pos + 1 + width
        if width := _MAP.get(head):
            return 2 * self.number(pos + 1, width), pos + 1 + width
        raise PayloadError("cannot decode: not msgpack")  # 0xC1 is all that is left

    def number(self, pos: int, width: int) -> int:
        return int.from_bytes(self.data[pos : pos + width], "big")


def is_array(head: int) -> bool:
    """Whether a value with this header is an array: the only thing in an ext of a container."""
    return 0x90 <= head <= 0x9F or head in _ARRAY
