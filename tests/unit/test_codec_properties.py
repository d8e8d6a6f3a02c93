"""Properties of the codec: each value comes out as it went in, garbage raises PayloadError.

A failure of the first kind prints hypothesis' own way to repeat it, of the second kind the seed: run it
again with REDJOBS_TEST_SEED=<seed>.
"""

from __future__ import annotations

import enum
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redjobs.codec import Codec, limits
from redjobs.errors import PayloadError


class Shape(enum.Enum):
    ROUND = "round"
    PAIR = (1, "x")


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2**70


class Flags(enum.Flag):
    A = 1
    B = 2
    C = 4


@dataclass(frozen=True, slots=True)
class Key:
    id: int
    shape: Shape = Shape.ROUND


@dataclass
class Box:
    content: Any
    key: Key | None = None


class Celsius:
    def __init__(self, degrees: object) -> None:
        self.degrees = degrees


CODEC = Codec({__name__})
CODEC.register(Celsius, name="celsius", encode=lambda c: c.degrees, decode=Celsius)


def same(left: Any, right: Any) -> bool:
    """Equal and of one type, all the way down; NaN is the same as NaN here."""
    if type(left) is not type(right):
        return False
    if is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in fields(left))
    compare = COMPARE.get(type(left))
    return compare(left, right) if compare else bool(left == right)


def same_items(left: Any, right: Any) -> bool:
    return len(left) == len(right) and all(map(same, left, right))


def same_dict(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    return same_items(list(left.items()), list(right.items()))


def same_set(left: Any, right: Any) -> bool:
    # Elements are hashable and not NaN: equality finds the partner, `deep_repr` looks at types.
    return left == right and sorted(map(deep_repr, left)) == sorted(map(deep_repr, right))


def same_repr(left: object, right: object) -> bool:
    return repr(left) == repr(right)


def same_time(left: Any, right: Any) -> bool:
    return bool(
        left.replace(tzinfo=None) == right.replace(tzinfo=None)
        and left.fold == right.fold
        and left.tzinfo == right.tzinfo
        and left.utcoffset() == right.utcoffset()
    )


def deep_repr(value: object) -> str:
    """Like repr, but the same for equal sets."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(deep_repr, value))})"
    if isinstance(value, tuple):
        return f"({[deep_repr(item) for item in value]})"
    return f"{type(value)}{value!r}"


COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    float: same_repr,
    Decimal: same_repr,
    list: same_items,
    tuple: same_items,
    dict: same_dict,
    set: same_set,
    frozenset: same_set,
    datetime: same_time,
    time: same_time,
    Celsius: lambda left, right: same(left.degrees, right.degrees),
}

ZONES = st.one_of(
    st.just(UTC),
    st.timezones(),
    st.builds(
        lambda seconds: timezone(timedelta(seconds=seconds)),
        st.integers(-86_399, 86_399),
    ),
)


def folded(value: Any, fold: int) -> Any:
    return value.replace(fold=fold)


DATETIMES = st.builds(
    folded,
    st.datetimes(datetime(1800, 1, 3), datetime(9999, 12, 29), timezones=ZONES),  # noqa: DTZ001
    st.integers(0, 1),
)
TIMES = st.builds(folded, st.times(timezones=st.none() | ZONES), st.integers(0, 1))
DECIMALS = st.decimals(allow_nan=False) | st.decimals(places=3, allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))

HASHABLE_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**2000), 2**2000),
    st.floats(allow_nan=False), TEXT, st.binary(), DECIMALS.filter(lambda d: abs(d.adjusted()) < 4000),
    st.uuids(), DATETIMES, st.dates(), TIMES, st.timedeltas(),
    st.sampled_from(Shape), st.sampled_from(Size), st.builds(Flags, st.integers(0, 7)),
    st.builds(Key, st.integers(), st.sampled_from(Shape)),
)  # fmt: skip
HASHABLE = st.recursive(
    HASHABLE_SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4).map(tuple), st.frozensets(inner, max_size=4)),
    max_leaves=6,
)
VALUES = st.recursive(
    HASHABLE_SCALARS | st.floats() | st.sampled_from([Decimal("NaN"), Decimal("-sNaN7")]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.dictionaries(TEXT, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.builds(Box, inner, st.none() | st.builds(Key, st.integers())),
        st.builds(Celsius, inner),
    ),
    max_leaves=12,
)


@settings(max_examples=250, deadline=None)
@given(VALUES)
def test_each_value_comes_out_as_it_went_in(value: object) -> None:
    assert same(CODEC.decode(CODEC.encode(value)), value)


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, max_size=4), st.dictionaries(TEXT, VALUES, max_size=4))
def test_each_call_comes_out_as_it_went_in(args: list[Any], kwargs: dict[str, Any]) -> None:
    data = CODEC.encode_call(tuple(args), kwargs)
    assert same(CODEC.decode_call(data), (tuple(args), kwargs))
    limits.Scan(data or b"\xc0", 32, 10_000, 2).run()  # the scan agrees, also where it was not needed


@settings(max_examples=150, deadline=None)
@given(VALUES, st.integers(1, 6), st.integers(1, 30))
def test_both_ends_count_alike(value: object, depth: int, items: int) -> None:
    narrow = Codec({__name__}, max_depth=depth, max_items=items)
    narrow.register(Celsius, name="celsius", encode=lambda c: c.degrees, decode=Celsius)
    data = CODEC.encode(value)
    try:
        assert narrow.encode(value) == data
    except PayloadError:
        with pytest.raises(PayloadError):
            narrow.decode(data)
    else:
        assert same(narrow.decode(data), value)


# -- garbage ---------------------------------------------------------------------------------------

SAMPLES: list[object] = [
    None, -1, 2**70, 1.5, "text ☃", b"\x00\xff", [1, [2, [3]]], (1, (2, (3,))), {1: {2: 3}, "k": ()},
    {1, "a"}, frozenset({1}), Decimal("-1.20E+30"), UUID(int=7), date(2026, 1, 2),
    time(1, 2, 3, tzinfo=UTC), timedelta(days=-1), Shape.PAIR, Size.LARGE, Flags.A | Flags.C,
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    Box([Key(1), Shape.ROUND], Key(2)), Celsius((1, Decimal(2))), list(range(40)), "x" * 300,
]  # fmt: skip


def test_garbage_raises_payload_error_only() -> None:
    """Two hundred thousand random and mutated payloads. What is accepted can be encoded again."""
    seed = int(os.environ.get("REDJOBS_TEST_SEED", random.randrange(2**32)))
    print(f"REDJOBS_TEST_SEED={seed}")
    rng = random.Random(seed)
    valid = [CODEC.encode_call((value,), {"v": value}) for value in SAMPLES]
    valid += [CODEC.encode(value) for value in SAMPLES]
    accepted = 0
    for turn in range(200_000):
        data = rng.randbytes(rng.randrange(1, 60)) if turn % 5 == 0 else mutated(rng, valid)
        try:
            value = CODEC.decode(data)
        except PayloadError:
            continue
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__} from {data!r}, seed {seed}") from error
        accepted += 1
        if accepted % 10 == 0:
            assert same(CODEC.decode(CODEC.encode(value)), value), (data, seed)
    assert accepted > 5_000, "the mutations are too wild to test anything"


def mutated(rng: random.Random, valid: list[bytes]) -> bytes:
    data = bytearray(rng.choice(valid))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0 | 1:
                data[at] = rng.randrange(256)
            case 2:
                data[at] ^= 1 << rng.randrange(8)
            case 3:
                del data[at : at + rng.randrange(1, 4)]
                data = data or bytearray(b"\x90")
            case _:
                other = rng.choice(valid)
                data[at:at] = other[: rng.randrange(len(other))]
    return bytes(data)


def test_threads_share_a_codec() -> None:
    failures: list[object] = []

    def work(number: int) -> None:
        for turn in range(300):
            args = (number, f"{number}-{turn}", [number] * 20, (Decimal(turn), Shape.PAIR))
            if CODEC.decode_call(CODEC.encode_call(args, {"n": number})) != (args, {"n": number}):
                failures.append(args)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
