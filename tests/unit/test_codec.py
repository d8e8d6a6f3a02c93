"""The codec by example: what comes out equal, the classes it knows, and the published page.

`test_codec_refusals.py` has what is refused and the limits, `test_codec_hostile.py` forged bytes,
and `test_codec_properties.py` says the same of every value and of random bytes.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest

from redjobs.codec import Codec, ext
from redjobs.errors import PayloadError

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


class Mode(enum.StrEnum):
    FAST = "fast"


class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass
class Address:
    street: str
    lines: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class User:
    id: int
    address: Address
    mode: Mode = Mode.FAST


@dataclass(kw_only=True)
class Order:
    """Has every kind of field: by default, computed, and changed by `__post_init__`."""

    items: list[int]
    note: str = ""
    total: int = field(init=False)
    seen: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.note += "!"
        self.total = sum(self.items)


@dataclass
class WithInitVar:
    id: int
    secret: InitVar[str]


class Point(NamedTuple):
    x: int


class Money:
    def __init__(self, amount: int, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def codec() -> Codec:
    return Codec({__name__})


def there_and_back(codec: Codec, value: object) -> Any:
    call = codec.encode_call((value,), {"value": value})
    (positional,), keywords = codec.decode_call(call)
    result = codec.decode(codec.encode(value))
    assert positional == keywords["value"] == result
    assert type(positional) is type(result)
    return result


# -- what comes out equal --------------------------------------------------------------------------

VALUES = [
    None, True, False, 0, -1, 2**63, -(2**63), 2**64, -(2**64), 10**4000, 1.5, -0.0, float("inf"),
    "", "naïve ☃ 🎉", "\0", b"", b"\xff\x00", [], [1, [2]], (), (1, (2, [3])), {},
    {"a": 1, 2: "b", (3, "x"): {4: 5}, None: 6, 1.5: 7, b"k": 8, frozenset({1}): 9, 2**70: 10},
    set(), {1, "a", (2,)}, frozenset({frozenset({1})}),
    Decimal("1.20"), Decimal("-0"), Decimal("1E+4000"), Decimal("-Infinity"),
    UUID(int=7), date(1, 1, 1), date.max, time(1, 2, 3, 4), time(1, 2, tzinfo=UTC),
    time(1, 2, tzinfo=BERLIN), timedelta.min, timedelta.max, timedelta(microseconds=-1),
    datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    datetime(2026, 7, 2, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
    Colour.RED, Colour.BOTH, Outer.Inner.ONE, Level.LOW, Mode.FAST, Right.READ | Right.WRITE,
    Right(0), User(7, Address("Main St", [(1,), {2}])),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_comes_out_equal_and_of_the_same_type(codec: Codec, value: object) -> None:
    result = there_and_back(codec, value)
    assert type(result) is type(value)
    assert result == value


@pytest.mark.parametrize(
    "value", [float("nan"), -0.0, Decimal("NaN123"), Decimal("-sNaN"), Decimal("-0"), Decimal("1.0")]
)
def test_numbers_that_equality_does_not_tell_apart(codec: Codec, value: object) -> None:
    assert repr(codec.decode(codec.encode(value))) == repr(value)


def test_a_call_without_arguments_is_no_bytes_at_all(codec: Codec) -> None:
    assert codec.encode_call((), {}) == b""
    assert codec.decode_call(b"") == ((), {})
    assert codec.encode_call((), {"a": 1}) == b"\x92\x90\x81\xa1a\x01"
    assert codec.decode_call(b"\x92\x90\x80") == ((), {})


def test_any_mapping_of_keywords(codec: Codec) -> None:
    for value in (1, [1], 2**70):
        keywords = types.MappingProxyType({"a": value})
        assert codec.decode_call(codec.encode_call((), keywords)) == ((), {"a": value})


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN),  # twice on that night
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN),  # never on that night
        datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 7, 1, tzinfo=BERLIN, fold=1),
        datetime(1890, 1, 1, tzinfo=BERLIN),  # +00:53:28
    ],
)
def test_a_zone_keeps_its_name_and_the_instant(codec: Codec, value: datetime) -> None:
    result = there_and_back(codec, value)
    assert result == value
    assert result.timestamp() == value.timestamp()
    assert (result.tzinfo.key, result.fold) == ("Europe/Berlin", value.fold)


def packed(code: int, data: bytes) -> bytes:
    return b"\xc9" + len(data).to_bytes(4, "big") + bytes([code % 256]) + data


def named(code: int, *content: object) -> bytes:
    return packed(code, msgpack.packb(content))


def test_a_zone_that_this_machine_does_not_know_falls_back_to_the_offset(codec: Codec) -> None:
    data = packed(ext.DATETIME, b"2026-07-01T12:00:00+02:00[Mars/Olympus_Mons]")
    assert repr(codec.decode(data)) == repr(datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))))
    at = packed(ext.TIME, b"12:00:00+02:00[Mars/Olympus_Mons]")
    assert codec.decode(at).utcoffset() == timedelta(hours=2)
    with pytest.raises(PayloadError):  # there is no offset, and a naive time would be a guess
        codec.decode(packed(ext.TIME, b"12:00:00[Mars/Olympus_Mons]"))


@pytest.mark.parametrize("key", ["Europe", "tzdata.zi", "../../etc/passwd", "zone.tab", "a" * 65])
def test_what_is_no_zone_is_no_zone(codec: Codec, key: str) -> None:
    data = packed(ext.DATETIME, f"2026-07-01T12:00:00+02:00[{key}]".encode())
    try:
        assert codec.decode(data).utcoffset() == timedelta(hours=2)
    except PayloadError:
        assert not re.fullmatch(r"[\w/]{1,64}", key)


def test_where_the_rules_of_a_zone_differ_the_instant_counts(codec: Codec) -> None:
    result = codec.decode(packed(ext.DATETIME, b"2026-07-01T12:00:00+05:00[Europe/Berlin]"))
    assert result == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert (result.hour, result.tzinfo) == (9, BERLIN)


class Foreign(tzinfo):
    """A time zone of another library, as pytz and dateutil have them."""

    def __init__(self, offset: timedelta | None) -> None:
        self.offset = offset

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return self.offset

    def tzname(self, when: datetime | None) -> str | None:
        return None

    dst = utcoffset


def test_a_foreign_tzinfo_becomes_its_offset(codec: Codec) -> None:
    value = datetime(2026, 7, 1, 12, tzinfo=Foreign(timedelta(hours=2)))
    assert there_and_back(codec, value).tzinfo == timezone(timedelta(hours=2))
    for naive in (value.replace(tzinfo=Foreign(None)), time(1, tzinfo=Foreign(None))):
        with pytest.raises(PayloadError, match=r"^result: cannot encode <class 'datetime\."):
            codec.encode(naive)


def test_a_zone_without_a_usable_key_becomes_its_offset(codec: Codec) -> None:
    tz = next(
        path
        for root in ("/usr/share/zoneinfo", "/usr/lib/zoneinfo")
        if (path := Path(root, "Europe/Berlin")).exists()
    )
    for key in (None, "[evil]"):
        with tz.open("rb") as file:
            zone = ZoneInfo.from_file(file, key)
        result = there_and_back(codec, datetime(2026, 7, 1, tzinfo=zone))
        assert result.tzinfo == timezone(timedelta(hours=2))
        with pytest.raises(PayloadError, match="has no name"):
            codec.encode(time(1, tzinfo=zone))


# -- dataclasses and enums -------------------------------------------------------------------------


def test_a_dataclass_comes_out_as_it_went_in_whatever_its_constructor_does(codec: Codec) -> None:
    order = Order(items=[1, 2])
    order.total, order.seen = 99, 3
    result = there_and_back(codec, order)
    assert result == order
    assert (result.note, result.total, result.seen) == ("!", 99, 3)


def name_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def test_a_field_with_a_default_may_be_younger_than_the_job(codec: Codec) -> None:
    data = named(ext.DATACLASS, name_of(Address), "street", "Main St")
    assert codec.decode(data) == Address("Main St")
    order = codec.decode(named(ext.DATACLASS, name_of(Order), "items", [1, 2]))
    assert order == Order(items=[1, 2])


def test_modules_are_live(codec: Codec) -> None:
    modules: set[str] = set()
    later = Codec(modules)
    assert later.modules is modules
    data = codec.encode(Colour.RED)
    with pytest.raises(PayloadError):
        later.encode(Colour.RED)
    with pytest.raises(PayloadError):
        later.decode(data)
    modules.add(__name__)
    assert later.decode(later.encode(Colour.RED)) is Colour.RED
    assert Codec().modules == set()


def test_the_source_holds_nothing_that_runs_a_payload() -> None:
    folder = Path(inspect.getfile(Codec)).parent
    for file in folder.glob("*.py"):
        source = file.read_text()
        for word in ("pickle", "marshal", "importlib", "__import__", "eval(", "exec(", "yaml"):
            assert word not in source, f"{file.name} holds {word}"


# -- registered types ------------------------------------------------------------------------------


@pytest.fixture
def with_money(codec: Codec) -> Codec:
    codec.register(Money, name="money", encode=lambda m: [m.amount, m.currency], decode=lambda v: Money(*v))
    return codec


def test_a_registered_type(with_money: Codec) -> None:
    assert there_and_back(with_money, [Money(7, "EUR")]) == [Money(7, "EUR")]
    with_money.register(complex, name="complex", encode=lambda c: (c.real, c.imag),
                        decode=lambda pair: complex(*pair))  # fmt: skip
    assert there_and_back(with_money, 1 + 2j) == 1 + 2j


def test_registering_goes_before_the_form_of_a_dataclass(codec: Codec) -> None:
    codec.register(WithInitVar, name="w", encode=vars, decode=lambda v: WithInitVar(**v, secret=""))
    assert there_and_back(codec, WithInitVar(1, "s")) == WithInitVar(1, "")


def test_what_cannot_be_registered(with_money: Codec) -> None:
    def register(cls: type[Any], name: str) -> None:
        with_money.register(cls, name=name, encode=str, decode=cls)

    register(Money, "money")  # again: a module that is reloaded
    for cls, name in ((Money, "other"), (Point, "money"), (int, "int"), (datetime, "d")):
        with pytest.raises(ValueError, match=r"taken|already|form of its own"):
            register(cls, name)
    for name in ("", "a b", "x" * 65, "a:b", "naïve", "a\n"):
        with pytest.raises(ValueError, match="name="):
            register(Point, name)
    with pytest.raises(TypeError):
        register(print, "print")  # type: ignore[arg-type]


def test_errors_of_registered_functions(codec: Codec, with_money: Codec) -> None:
    data = with_money.encode(Money(7, "EUR"))
    with pytest.raises(PayloadError, match=r"no type is registered as 'money'"):
        Codec().decode(data)
    with pytest.raises(PayloadError, match=r"decode\(\) of 'money' raised TypeError") as caught:
        with_money.decode(named(ext.REGISTERED, "money", [1]))
    assert isinstance(caught.value.__cause__, TypeError)

    def broken(value: object) -> Any:
        raise OSError("secret")

    codec.register(complex, name="c", encode=broken, decode=complex)
    with pytest.raises(PayloadError, match=r"args\[0\]\[0\]: .*encode\(\) of 'c'") as caught:
        codec.encode_call(([1j],), {})
    assert "secret" not in str(caught.value)


def test_decode_must_return_the_class(codec: Codec) -> None:
    codec.register(Money, name="money", encode=lambda m: m.amount, decode=lambda v: v)
    with pytest.raises(PayloadError, match=r"decode\(\) of 'money' returned <class 'int'>"):
        codec.decode(codec.encode(Money(7, "EUR")))


# -- the published page ----------------------------------------------------------------------------


def test_the_page_publishes_the_codes_and_limits(codec: Codec) -> None:
    page = DOCS.read_text()
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    assert {name: int(code) for code, name in rows} == ext.CODES
    assert len(rows) == len(ext.CODES) == len(set(ext.CODES.values()))
    limits_table: Mapping[str, str] = dict(
        re.findall(r"^\| `(max_\w+|MAX_\w+)` \| ([\d,]+) ", page, re.MULTILINE)
    )
    assert {name: int(value.replace(",", "")) for name, value in limits_table.items()} == {
        "max_bytes": codec.max_bytes,
        "max_depth": codec.max_depth,
        "max_items": codec.max_items,
        "MAX_INT_BYTES": ext.MAX_INT_BYTES,
        "MAX_DECIMAL_DIGITS": ext.MAX_DECIMAL_DIGITS,
    }


def test_codes_have_one_meaning_for_ever() -> None:
    assert ext.CODES == {
        "tuple": 1, "set": 2, "frozenset": 3, "int": 4, "Decimal": 5, "UUID": 6, "datetime": 7,
        "date": 8, "time": 9, "timedelta": 10, "Enum": 11, "dataclass": 12, "registered": 13,
    }  # fmt: skip
    handled = set(ext.SCALAR_DECODERS) | ext.CONTAINERS
    assert handled == set(ext.CODES.values())


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ((7,), "92 91 d501 9107 80"),
        (2**64, "92 91 c70904 010000000000000000 80"),
        (Decimal("1.20"), "92 91 d605 312e3230 80"),
        (date(2026, 1, 2), "92 91 c70a08 323032362d30312d3032 80"),
        (timedelta(seconds=1), "92 91 c7030a 0f4240 80"),
    ],
)
def test_bytes_are_pinned_for_jobs_that_wait(codec: Codec, value: object, data: str) -> None:
    """What one version has enqueued, each later version has to read."""
    assert codec.encode_call((value,), {}).hex() == data.replace(" ", "")
    assert codec.decode_call(codec.encode_call((value,), {}))[0] == (value,)
