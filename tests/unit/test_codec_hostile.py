"""Forged bytes: whatever they are, decoding imports nothing, stays small and says PayloadError."""

from __future__ import annotations

import enum
import subprocess
import sys
import threading
import tracemalloc
import types
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
import msgpack.fallback
import pytest

from redjobs.codec import Codec, ext, limits
from redjobs.errors import JobTimeout, PayloadError

BERLIN = ZoneInfo("Europe/Berlin")
DOCS = Path(__file__).parents[2] / "docs" / "payloads.md"


class Colour(enum.Enum):
    RED = "red"
    BOTH = ("red", 2)


class Outer:
    class Inner(enum.IntEnum):
        ONE = 1


class Level(enum.IntEnum):
    LOW = 1


class Memberless(enum.Enum):
    pass


@dataclass
class Address:
    street: str
    lines: list[Any] = field(default_factory=list)


@dataclass
class WithInitVar:
    id: int
    secret: InitVar[str]


@dataclass
class Picky:
    id: int

    def __post_init__(self) -> None:
        if self.id < 0:
            raise LookupError("secret")


@dataclass
class ListToo(list[int]):
    id: int = 0


class Money:
    def __init__(self, amount: int, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Slow:
    def __post_init__(self) -> None:
        if deadline.is_set():
            raise JobTimeout


deadline = threading.Event()


@pytest.fixture
def codec() -> Codec:
    return Codec({__name__})


def packed(code: int, data: bytes) -> bytes:
    return b"\xc9" + len(data).to_bytes(4, "big") + bytes([code % 256]) + data


def named(code: int, *content: object) -> bytes:
    return packed(code, msgpack.packb(content))


def name_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ((name_of(Address),), "field 'street' is missing"),
        ((name_of(Address), "street", "", "zip", 1), "no field 'zip'"),
        ((name_of(Address), "street", "", "street", ""), "twice"),
        ((name_of(Address), "street", "", "__class__", 1), "no field '__class__'"),
        ((name_of(Address), "street"), "not a name and its fields"),
        ((name_of(Address), 1, 2), "not a name and its fields"),
        ((name_of(WithInitVar), "id", 1), "WithInitVar'>: its constructor does not take exactly"),
        ((name_of(WithInitVar), "id", 1, "secret", 2), "no field 'secret'|its constructor"),
        ((name_of(Picky), "id", -1), "LookupError"),
        ((name_of(Colour), "name", "RED"), "is no enum or dataclass"),
        ((name_of(Money), "amount", 1), "is no enum or dataclass"),
        ((name_of(ListToo), "id", 1), "is no enum or dataclass"),
        ((7, "id", 1), "int is no enum or dataclass"),
        ((f"{__name__}:Path", "id", 1), "is no enum or dataclass"),
        ((f"{__name__}:Address.__init__", "id", 1), "is no enum or dataclass"),
        ((f"{__name__}:", "id", 1), "is no enum or dataclass"),
        ((f"{__name__}", "id", 1), "is no enum or dataclass"),
        (("os:system", "id", 1), "is no enum or dataclass"),
        (("\x1b]0;" + "x" * 500, "id", 1), r"'\\x1b\]0;x{76}…' is no"),
        ((), "not a name and its fields"),
    ],
)
def test_forged_dataclasses(codec: Codec, content: tuple[object, ...], reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        codec.decode(named(ext.DATACLASS, *content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ((name_of(Colour), "blue"), "no member of this value"),
        ((name_of(Colour), ["unhashable"]), "no member of this value"),
        ((name_of(Level), "low"), "no member of this value"),
        ((name_of(Memberless), "X"), "is no enum or dataclass"),
        ((name_of(Address), "X"), "is no enum or dataclass"),
        ((name_of(Colour),), "not a name and a value"),
        ((name_of(Colour), "red", "blue"), "not a name and a value"),
        ((b"bytes", "red"), "not a name and a value"),
        ((f"{__name__}:{HTTPStatus.__name__}", 200), "is no enum or dataclass"),  # merely imported here
    ],
)
def test_forged_enums(codec: Codec, content: tuple[object, ...], reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        codec.decode(named(ext.ENUM, *content))
    assert not Memberless.__members__


def test_decoding_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    (tmp_path / "redjobs_test_trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    lazy = types.ModuleType("redjobs_test_lazy")
    lazy.__dict__["__getattr__"] = lambda name: pytest.fail(f"asked the module for {name}")
    lazy.__dict__["antigravity"] = types.ModuleType("antigravity")
    monkeypatch.setitem(sys.modules, "redjobs_test_lazy", lazy)
    codec.modules |= {"redjobs_test_trap", "redjobs_test_lazy", "antigravity"}
    before = set(sys.modules)
    for name in (
        "redjobs_test_trap:X",
        "redjobs_test_lazy:X",
        "redjobs_test_lazy:antigravity.X",
        "antigravity:X",
        "antigravity:fly",
        "this:s",
    ):
        for code in (ext.ENUM, ext.DATACLASS):
            with pytest.raises(PayloadError, match="is no enum or dataclass"):
                codec.decode(named(code, name, "x", "y") if code == 12 else named(code, name, "x"))
    assert set(sys.modules) == before


def test_a_signal_of_the_runner_passes_through(codec: Codec) -> None:
    data = codec.encode(Slow())
    deadline.set()
    try:
        with pytest.raises(JobTimeout):
            codec.decode(data)
    finally:
        deadline.clear()


# -- hostile bytes ---------------------------------------------------------------------------------


def array(count: int, items: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big") + items


HOSTILE = {
    "empty": b"",
    "never used": b"\xc1",
    "trailing": b"\xc0\xc0",
    "trailing, long": bytes([0xD9, 60]) + b"x" * 60 + b"\xc0",
    "cut off": b"\x93\x01",
    "array that lies": array(2**32 - 1, b""),
    "array that lies, long": array(2**32 - 1, b"\xc0" * 20_000),
    "map that lies": b"\xdf\xff\xff\xff\xff",
    "str that lies": b"\xdb\xff\xff\xff\xff",
    "ext that lies": b"\xc9\xff\xff\xff\xff\x01",
    "no utf-8": b"\xa1\xff",
    "unhashable key": b"\x81\x90\x01",
    "a key twice": b"\x82\x01\x01\x01\x02",
    "equal keys": b"\x82\x01\x01\xc3\x02",
    "an element twice": packed(ext.SET, b"\x92\x01\x01"),
    "unhashable element": packed(ext.SET, b"\x91\x90"),
    "unknown ext": packed(99, b""),
    "ext 0": packed(0, b""),
    "timestamp": packed(-1, b"\0" * 4),
    "timestamp 8": packed(-1, b"\0" * 8),
    "timestamp 12": packed(-1, b"\0" * 12),
    "timestamp in a tuple": named(ext.TUPLE, msgpack.Timestamp(1)),
    "timestamp that is none": packed(-1, b"\0"),
    "tuple of nothing": packed(ext.TUPLE, b""),
    "tuple that is a str": packed(ext.TUPLE, b"\xa0"),
    "tuple that is a map": packed(ext.TUPLE, b"\x80"),
    "tuple with a tail": packed(ext.TUPLE, b"\x90\x90"),
    "tuple that is cut off": packed(ext.TUPLE, b"\x92\x01"),
    "int of nothing": packed(ext.INT, b""),
    "int too long": packed(ext.INT, b"\1" * (ext.MAX_INT_BYTES + 1)),
    "decimal bomb": packed(ext.DECIMAL, b"1E+999999999"),
    "decimal 1E+99999": packed(ext.DECIMAL, b"1E+99999"),
    "decimal of spaces": packed(ext.DECIMAL, b" 1_0 "),
    "decimal of nothing": packed(ext.DECIMAL, b""),
    "decimal too long": packed(ext.DECIMAL, b"1" * 4301),
    "decimal far too long": packed(ext.DECIMAL, b"1" * 200_000),
    "uuid too short": packed(ext.UUID_, b"1" * 15),
    "naive datetime": packed(ext.DATETIME, b"2026-01-01T00:00:00"),
    "datetime 13th month": packed(ext.DATETIME, b"2026-13-01T00:00:00+00:00"),
    "datetime of a fraction": packed(ext.DATETIME, b"2026-01-01T00:00:00+00:30:00.5"),
    "datetime of nothing": packed(ext.DATETIME, b""),
    "datetime beyond": packed(ext.DATETIME, b"9999-12-31T23:59:59-12:00[Europe/Berlin]"),
    "date of nothing": packed(ext.DATE, b""),
    "date year 0": packed(ext.DATE, b"0000-01-01"),
    "time 25": packed(ext.TIME, b"25:00"),
    "timedelta beyond": packed(ext.TIMEDELTA, b"\x7f" * 12),
    "timedelta far beyond": packed(ext.TIMEDELTA, b"\x7f" * 1000),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bytes(codec: Codec, data: bytes) -> None:
    for inside in (data, b"\x91" + data, b"\x92\xc0" + data, b"\xdc\x00\x28" + b"\1" * 39 + data):
        with pytest.raises(PayloadError, match=r"^cannot decode"):
            codec.decode(inside)
    for call in (data, b"\x92\x91" + data + b"\x80", b"\x92\x90\x81\xa1a" + data):
        if call:
            with pytest.raises(PayloadError, match=r"^cannot decode"):
                codec.decode_call(call)


@pytest.mark.parametrize(
    "data",
    [b"\xc0", b"\x90", b"\x91\x90", b"\x93\x90\x80\x80", b"\x92\x80\x80", b"\x92\x90\x90",
     b"\x92\x90\x81\x01\x01", named(ext.TUPLE, [], {}), b"\x92" + packed(1, b"\x90") + b"\x80"],
)  # fmt: skip
def test_what_is_no_call(codec: Codec, data: bytes) -> None:
    with pytest.raises(PayloadError, match="not the arguments of a call"):
        codec.decode_call(data)


def bombs() -> Iterator[bytes]:
    full = 256 * 1024
    yield array(full - 5, b"\x80" * (full - 5))
    yield array(full - 5, b"\x90" * (full - 5))
    yield b"\x91" * (full - 1) + b"\xc0"
    yield b"\x81\xc0" * (full // 2 - 1) + b"\xc0"
    value = b"\xc0"
    while len(value) < 200_000:  # ext in ext in ext, with and without the array
        value = b"\xc9" + len(value).to_bytes(4, "big") + b"\x01" + value
    yield value
    value = b"\x90"
    for _ in range(2_000):
        value = packed(ext.TUPLE, b"\x91" + value)
    yield value
    yield array(9_000, packed(ext.SET, b"\x90") * 9_000)
    deep = msgpack.packb(b"x" * 250_000)
    for _ in range(32):
        deep = packed(ext.TUPLE, b"\x91" + deep)
    yield deep


@pytest.mark.parametrize("data", list(bombs()), ids=lambda data: f"{data[:2].hex()}-{len(data)}")
def test_memory_is_bounded(codec: Codec, data: bytes) -> None:
    tracemalloc.start()
    try:
        codec.decode(data)
    except PayloadError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # One copy for each level is the most: 32 times 256 KiB. msgpack in pure Python makes three.
    copies = 3 if msgpack.Packer is msgpack.fallback.Packer else 1
    assert peak < (codec.max_depth + 1) * copies * codec.max_bytes + 1_000_000


@pytest.mark.parametrize(
    ("data", "call"),
    [
        (b"\x92\x92\x07\x01\x80", ((7, 1), {})),
        (b"\x92\x91\x80\x80", (({},), {})),
        (b"\x92\x90\x80", ((), {})),
        (b"\x92\x91\x07\x81\xa1a\x80", ((7,), {"a": {}})),
        (b"\x92\x91\x07\x81\xa1a\xcc\x80", ((7,), {"a": 128})),
    ],
)
def test_a_last_byte_that_looks_like_no_names(
    codec: Codec, data: bytes, call: tuple[tuple[object, ...], dict[str, object]]
) -> None:
    assert codec.decode_call(data) == call


@pytest.mark.parametrize(
    "data",
    [
        b"\x92\x80",
        b"\x92\x80\x80",
        b"\x92\x07\x80",
        b"\x92\x91\xc4\x01\x80",
        b"\x92\x91\xcc\x80",
        b"\x92\x90\x90\x80",
    ],
)
def test_what_only_looks_like_a_call_without_names(codec: Codec, data: bytes) -> None:
    with pytest.raises(PayloadError):
        codec.decode_call(data)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name.startswith("tuple")])
def test_the_scan_does_not_leave_an_ext(name: str) -> None:
    with pytest.raises(PayloadError, match=r"does not hold one array|cut off"):
        limits.Scan(HOSTILE[name], 32, 100).run()


@pytest.mark.parametrize(
    "header",
    [b"\x91", b"\xdc\0\1", b"\xdd\0\0\0\1", b"\x81\1", b"\xde\0\1\1", b"\xdf\0\0\0\1\1"],
    ids=bytes.hex,
)
def test_each_way_to_nest_counts(codec: Codec, header: bytes) -> None:
    codec.decode(header * 32 + b"\xc0")
    with pytest.raises(PayloadError, match="nested deeper than 32"):
        codec.decode(header * 33 + b"\xc0")


def test_errors_do_not_quote_the_payload(codec: Codec) -> None:
    canary = b"hunter2"
    for data in (
        packed(ext.DATETIME, canary),
        packed(ext.DECIMAL, canary),
        packed(ext.UUID_, canary),
        b"\xa8\xff" + canary,
        b"\x82\xa7" + canary + b"\x01\xa7" + canary + b"\x01",
        named(ext.ENUM, name_of(Colour), canary.decode()),
    ):
        with pytest.raises(PayloadError) as caught:
            codec.decode(data)
        error: BaseException | None = caught.value
        while error is not None:
            assert "hunter2" not in str(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_the_scan_and_msgpack_agree_on_every_header() -> None:
    for head in range(256):
        for tail in (b"\0" * 16, b"\0" * 17, b"\1" * 16, b"\0\0\0\2" + b"\1" * 40):
            for size in range(len(tail) + 1):
                data = bytes([head]) + tail[:size]
                try:
                    msgpack.unpackb(data, strict_map_key=False)
                    whole = True
                except (ValueError, msgpack.UnpackException):
                    whole = False
                try:
                    limits.Scan(data, 100, 100).run()
                    scanned = True
                except PayloadError as error:
                    if "ext code" in str(error):
                        continue  # the scan knows our codes, and msgpack does not
                    scanned = False
                assert whole == scanned, data


def test_msgpack_without_its_extension() -> None:
    program = """
import os, random
from datetime import datetime, timezone
from decimal import Decimal
import msgpack
from msgpack import fallback
assert msgpack.Packer is fallback.Packer
from redjobs.codec import Codec
from redjobs.errors import JobTimeout, PayloadError
codec = Codec()
value = {1: (2**70, {3}, "x"), (4,): [Decimal(1), datetime.now(timezone.utc), b"", None, 1.5]}
assert codec.decode_call(codec.encode_call((value, 2**70), {"v": value}))[1]["v"] == value
for bad in ("\\udc80", bytearray(), msgpack.Timestamp(1), [2**20000]):
    try: codec.encode_call((bad,), {})
    except PayloadError as error: assert str(error).startswith("args[0]"), error
    else: raise AssertionError(bad)
data = codec.encode(value)
for _ in range(4000):
    mutated = bytearray(data)
    for _ in range(3): mutated[random.randrange(len(data))] = random.randrange(256)
    for garbage in (bytes(mutated), os.urandom(40), b"\\x91" * 5000, b"\\xd6\\xff\\0\\0\\0\\0"):
        try: codec.decode(garbage)
        except PayloadError: pass
try: codec.decode(b"\\xd6\\xff\\0\\0\\0\\0")
except PayloadError: print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"MSGPACK_PUREPYTHON": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr
