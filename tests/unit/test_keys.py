"""Key names: one slot per queue, no two meanings for one name."""

from __future__ import annotations

import itertools

import pytest
from redis.crc import key_slot

from redjobs.errors import SettingsError
from redjobs.ids import is_id
from redjobs.keys import BELL, DEFAULT_PREFIX, Keys, queues_key


def all_names(keys: Keys) -> list[str]:
    """Every key of a queue: those without a variable part, and one of each that has one."""
    fixed = [name for slot in Keys.__slots__ if isinstance(name := getattr(keys, slot), str) and ":" in name]
    names = [name for name in fixed if not name.endswith(":")]
    assert len(names) >= 8
    return [*names, keys.job("id"), keys.list_of(7), keys.list_of(-7), keys.processing("w"), keys.unique("k")]


@pytest.mark.row(23)
@pytest.mark.parametrize("queue", ["default", "mail", "a.b-c_d", "0"])
def test_all_keys_of_a_queue_share_one_slot(queue: str) -> None:
    slots = {key_slot(name.encode()) for name in all_names(Keys(queue))}
    assert slots == {key_slot(queue.encode())}


@pytest.mark.row(23)
@pytest.mark.parametrize("hostile", ["}", "{", "{other}", "}{other}", ":", "a}b", "\n", ""])
def test_no_job_key_or_worker_leaves_the_slot(hostile: str) -> None:
    keys = Keys("mail")
    for name in (keys.unique(hostile), keys.job(hostile), keys.processing(hostile)):
        assert key_slot(name.encode()) == key_slot(b"mail")


def test_no_two_meanings_share_a_name() -> None:
    # A unique key may be any text, the names of other keys included.
    keys = Keys("mail")
    names = all_names(keys)
    tricky = [keys.unique(text) for text in ("", "k:1", "ready", "job:id", "ready:7")]
    assert len({*names, *tricky}) == len(names) + len(tricky)


def test_queues_and_prefixes_keep_apart() -> None:
    owners = [
        Keys(queue, prefix) for queue, prefix in itertools.product(["a", "b", "a.b"], ["p", "q", "p.a"])
    ]
    names = [name for keys in owners for name in all_names(keys)]
    assert len(set(names)) == len(names)


def test_the_list_of_queues_is_no_key_of_a_queue() -> None:
    assert queues_key("p") not in [name for queue in ("queues", "p") for name in all_names(Keys(queue, "p"))]


def test_priority_zero_has_the_list_that_workers_block_on() -> None:
    keys = Keys("mail")
    assert keys.list_of(0) == keys.ready
    assert keys.list_of(1) != keys.ready != keys.list_of(-1)


def test_a_bell_is_no_id() -> None:
    assert not is_id(BELL)


def test_names_start_with_the_prefix() -> None:
    assert {name.split(":")[0] for name in all_names(Keys("mail"))} == {DEFAULT_PREFIX}
    assert {name.split(":")[0] for name in all_names(Keys("mail", "shop"))} == {"shop"}
    assert queues_key().split(":")[0] == DEFAULT_PREFIX


@pytest.mark.row(23)
@pytest.mark.parametrize("name", ["", "}", "{", ":", "a\n", "\0", "é", "a" * 65])
def test_queue_and_prefix_must_be_names(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a queue"):
        Keys(name)
    with pytest.raises(SettingsError, match="cannot name a prefix"):
        Keys("mail", name)
    with pytest.raises(SettingsError, match="cannot name a prefix"):
        queues_key(name)


def test_keys_of_the_same_queue_are_equal() -> None:
    assert Keys("mail") == Keys("mail")
    assert len({Keys("mail"), Keys("mail"), Keys("post"), Keys("mail", "shop")}) == 3
    assert Keys("mail") != "mail"
