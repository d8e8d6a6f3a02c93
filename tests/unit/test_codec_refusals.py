"""What the encoder refuses, in which words, and the limits at both ends."""

from __future__ import annotations

import collections
import dataclasses
import enum
import inspect
import socket
import tracemalloc
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
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


class Mode(enum.StrEnum):
    FAST = "fast"


class NotFound(enum.Enum):
    NAN = float("nan")


@dataclass
class Address:
    street: str
    lines: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class User:
    id: int
    address: Address
    mode: Mode = Mode.FAST


@dataclass
class WithInitVar:
    id: int
    secret: InitVar[str]


@dataclass
class ListToo(list[int]):
    id: int = 0


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


# -- what is refused, and in which words -----------------------------------------------------------


def local_class() -> type:
    @dataclass
    class Local:
        x: int = 0

    return Local


REFUSED: list[tuple[object, str, str]] = [
    (socket.socket, "", "<class 'type'>; pass an id or plain data, or register"),
    (object(), "", "<class 'object'>; pass an id or plain data, or register"),
    ([1, object()], "[1]", "<class 'object'>"),
    ((1, [object()]), "[1][0]", "<class 'object'>"),
    ({"k": {1: object()}}, "['k'][1]", "<class 'object'>"),
    ({(1, 2): object()}, "[<tuple>]", "<class 'object'>"),
    ({"a": 1, Point(1): 2}, ".keys()[1]", "Point'>; it is a subclass of tuple"),
    ({object()}, "{*}", "<class 'object'>"),
    (User(1, Address("x", [object()])), ".address.lines[0]", "<class 'object'>"),
    ({"x" * 200: object()}, f"['{'x' * 80}…']", "<class 'object'>"),
    (bytearray(b"x"), "", "<class 'bytearray'>; pass bytes(value)"),
    ([memoryview(b"x")], "[0]", "<class 'memoryview'>; pass bytes(value)"),
    (collections.OrderedDict(), "", "it is a subclass of dict and would come out as another type:"
        " pass dict(value), or register it with codec.register()"),
    (collections.defaultdict(int), "", "pass dict(value)"),
    (Point(1), "", "pass tuple(value)"),
    (type("Text", (str,), {})("x"), "", "pass str(value)"),
    (type("When", (datetime,), {})(2026, 1, 1), "", "a subclass of datetime and would"),
    (msgpack.ExtType(1, b"\x90"), "", "it is a subclass of tuple"),
    (msgpack.Timestamp(1), "", "Timestamp'>; pass an id"),
    (datetime(2026, 1, 1), "", "<class 'datetime.datetime'>; it is naive"),  # noqa: DTZ001
    (time(1, tzinfo=timezone(timedelta(microseconds=1))), "", "time'>; its time zone has an offset"),
    ([datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1, microseconds=1)))], "[0]", "its time"),
    (2 ** (8 * ext.MAX_INT_BYTES), "", "<class 'int'>; it has 1,786 bytes"),
    ([{"a": 2**20000}], "[0]['a']", "<class 'int'>; it has 2,501 bytes"),
    (Decimal("1E+4300"), "", "<class 'decimal.Decimal'>; written out it has more than 4,300 digits"),
    (Decimal("1E-999999"), "", "<class 'decimal.Decimal'>; written out"),
    ("\udc80", "", "<class 'str'>; it holds a lone surrogate"),
    ([1, (2, {"k": "\udc80"})], "[1][1]['k']", "<class 'str'>; it holds a lone surrogate"),
    ({"\udc80": 1}, ".keys()[0]", "<class 'str'>; it holds a lone surrogate"),
    (local_class()(), "", "it is defined inside a function: move it"),
    (WithInitVar(1, "s"), "", "its constructor does not take exactly its fields"),
    (ListToo(), "", "it is a subclass of list"),
    (NotFound.NAN, "", "this member cannot be found by its value"),
    (inspect.Parameter("a", inspect.Parameter.VAR_KEYWORD).kind, "", "no handler is defined in"
        " module 'inspect': define it in the module of its handler, or register it"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "path", "reason"), REFUSED, ids=lambda value: type(value).__name__)
def test_refuses_and_names_the_path(codec: Codec, value: object, path: str, reason: str) -> None:
    encoders: list[tuple[str, Callable[[], object]]] = [
        ("result", lambda: codec.encode(value)),
        ("cron 'x'", lambda: codec.encode(value, path="cron 'x'")),
        ("args[1]", lambda: codec.encode_call((1, value), {})),
        ("kwargs['user']", lambda: codec.encode_call((1,), {"a": 1, "user": value})),
    ]
    for start, encode in encoders:
        with pytest.raises(PayloadError) as caught:
            encode()
        assert str(caught.value).startswith(f"{start}{path}: cannot encode <")
        assert reason in str(caught.value)


def test_a_socket_deep_inside(codec: Codec) -> None:
    with socket.socket() as open_socket, pytest.raises(PayloadError) as caught:
        user = User(1, open_socket)  # type: ignore[arg-type]
        codec.encode_call((), {"user": dataclasses.replace(user, address=[1, 2, open_socket])})  # type: ignore[arg-type]
    assert str(caught.value) == (
        "kwargs['user'].address[2]: cannot encode <class 'socket.socket'>; "
        "pass an id or plain data, or register the type with codec.register()"
    )


def test_names_of_keywords_are_plain_str(codec: Codec) -> None:
    text = type("Text", (str,), {})("a")
    for name in (text, 1, "\udc80"):
        for value in (1, [1]):
            with pytest.raises(PayloadError, match=r"^kwargs: cannot encode the name"):
                codec.encode_call((), {name: value})  # type: ignore[dict-item]


def test_a_field_that_was_never_set(codec: Codec) -> None:
    user = User.__new__(User)
    with pytest.raises(PayloadError, match="its field 'id' was never set"):
        codec.encode(user)


# -- limits ----------------------------------------------------------------------------------------


def cyclic_list() -> object:
    value: list[object] = []
    value.append(value)
    return value


def cyclic_tuple() -> object:
    inner: list[object] = []
    inner.append((inner,))
    return inner


def cyclic_dict() -> object:
    value: dict[str, object] = {}
    value["me"] = [value]
    return value


def cyclic_dataclass() -> object:
    address = Address("x")
    address.lines.append(address)
    return address


@pytest.mark.parametrize("make", [cyclic_list, cyclic_tuple, cyclic_dict, cyclic_dataclass])
def test_cycles(codec: Codec, make: Callable[[], object]) -> None:
    with pytest.raises(PayloadError, match=r"args\[0\].*: nested deeper than 32 levels, or in"):
        codec.encode_call((make(),), {})


def nested(levels: int, wrap: Callable[[object], object]) -> Any:
    value: object = 1
    for _ in range(levels):
        value = wrap(value)
    return value


def test_a_type_that_encodes_to_itself(codec: Codec) -> None:
    codec.register(Money, name="money", encode=lambda m: m, decode=lambda v: v)
    with pytest.raises(PayloadError, match="nested deeper"):
        codec.encode(Money(1, ""))


WRAPS: list[tuple[str, Callable[[object], object]]] = [
    ("list", lambda value: [value]),
    ("tuple", lambda value: (value,)),
    ("dict", lambda value: {"k": value}),
    ("key", lambda value: {(value,): 1} if isinstance(value, int) else [value]),
    ("dataclass", lambda value: Address("", [value]) if value == 1 else [value]),
    ("set", lambda value: frozenset([value])),
]


@pytest.mark.parametrize("wrap", [wrap for _, wrap in WRAPS], ids=[name for name, _ in WRAPS])
@pytest.mark.parametrize("limit", [5, 32, 128])
def test_depth_at_both_ends(limit: int, wrap: Callable[[object], object]) -> None:
    codec = Codec({__name__}, max_depth=limit)
    wide = Codec({__name__}, max_depth=128)
    inner = 1 if wrap(1) in ({(1,): 1}, Address("", [1])) else 0  # two levels in the first step
    fits = nested(limit - inner, wrap)
    assert there_and_back(codec, fits) == fits
    over = [fits]
    for encode in (codec.encode, lambda value: codec.encode_call((value,), {})):
        with pytest.raises(PayloadError, match=f"nested deeper than {limit} levels"):
            encode(over)
    if limit < 128:
        with pytest.raises(PayloadError, match=f"nested deeper than {limit}"):
            codec.decode(wide.encode(over))
        with pytest.raises(PayloadError, match="nested deeper"):
            codec.decode_call(wide.encode_call((), {"over": over}))


def test_max_depth_is_bounded_by_the_stack_of_python() -> None:
    for limit in (0, 129):
        with pytest.raises(ValueError, match="max_depth"):
            Codec(max_depth=limit)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: list(range(n)),
        lambda n: [(*range(n - 1),)],
        lambda n: [set(range(n - 1))],
        lambda n: ["x" * 100] * n,
        lambda n: [None, dict.fromkeys(range((n - 2) // 2))],
        lambda n: [[None] * 9] * (n // 10),
        lambda n: [Address("", [1] * (n - 6))],
        lambda n: [1, Colour.RED, *[2] * (n - 4)],
    ],
)
@pytest.mark.parametrize("limit", [10, 1_000])
def test_items_at_both_ends(limit: int, make: Callable[[int], list[object]]) -> None:
    codec = Codec({__name__}, max_items=limit)
    wide = Codec({__name__})
    fits, over = make(limit), [*make(limit), 1]
    assert codec.decode(codec.encode(fits)) == fits
    with pytest.raises(PayloadError, match=rf"^result.*: more than {limit:,} items"):
        codec.encode(over)
    with pytest.raises(PayloadError, match=f"more than {limit:,} items"):
        codec.decode(wide.encode(over))
    # In a call, each argument is one more.


@pytest.mark.parametrize("value", [1, "x", [], Decimal(1)])
def test_arguments_are_items_too(value: object) -> None:
    codec, wide = Codec(max_items=10), Codec()
    fits, over = ((value,) * 4, dict.fromkeys("abc", value)), ((value,) * 9, {"a": value})
    assert codec.decode_call(codec.encode_call(*fits)) == fits
    with pytest.raises(PayloadError, match=r"^arguments: more than 10 items"):
        codec.encode_call(*over)
    with pytest.raises(PayloadError, match="more than 10 items"):
        codec.decode_call(wide.encode_call(*over))


def test_size_at_both_ends(codec: Codec) -> None:
    fits = "x" * (256 * 1024 - 5)  # the header of a long str is five bytes
    data = codec.encode(fits)
    assert len(data) == codec.max_bytes
    assert codec.decode(data) == fits
    for over in (fits + "x", (fits + "x").encode(), [fits]):
        with pytest.raises(PayloadError, match=r"^result(\[0\])?: .*more than 262,144 "):
            codec.encode(over)
        with pytest.raises(PayloadError, match="max_bytes is 262,144"):
            codec.decode(Codec(max_bytes=10**6).encode(over))
    call = codec.encode_call((fits[3:-4],), {})
    assert codec.decode_call(call) == ((fits[3:-4],), {})


def test_too_large_names_the_largest_argument(codec: Codec) -> None:
    half = "x" * 140_000
    for small in (1, [1], ("x" * 100_000,)):
        with pytest.raises(PayloadError, match=r"^kwargs\['text'\]: the largest part of [23]80,0"):
            codec.encode_call((small, half), {"text": half + "x"})


def test_one_big_string_many_times_is_refused_before_it_is_packed(codec: Codec) -> None:
    big = "x" * 200_000
    bomb = [[[big] * 1_000] * 2, {"a": {b"x" * 10: big}}]
    tracemalloc.start()
    with pytest.raises(PayloadError, match="max_bytes"):
        codec.encode(bomb)
    assert tracemalloc.get_traced_memory()[1] < 10 * codec.max_bytes
    tracemalloc.stop()


def test_a_small_value_that_unfolds_is_refused(codec: Codec) -> None:
    laughs: object = []
    for _ in range(20):
        laughs = [laughs] * 10
    with pytest.raises(PayloadError, match="items"):
        codec.encode(laughs)
