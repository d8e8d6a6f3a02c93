"""Where a sharded queue's jobs are: their ids and their keys lead to the same part, for ever."""

from __future__ import annotations

from collections import Counter

import pytest

from redjobs.errors import SettingsError
from redjobs.ids import new_id, priority_of, shards_of, whole_of
from redjobs.jobs import JobOptions, NewJob
from redjobs.keys import Keys
from redjobs.shards import Shards


def job(**options: object) -> NewJob:
    said = JobOptions(**options)  # type: ignore[arg-type]
    return NewJob(new_id(said.priority or 0), "shop:remind", b"", said, "")


def test_a_queue_that_is_not_sharded_is_its_only_part() -> None:
    shards = Shards("mail")
    new = job(key="7")
    assert shards.parts == (Keys("mail"),)
    assert shards.placed(new) is new and shards.of(new.id) == Keys("mail")
    assert list(shards.places(new.id)) == [Keys("mail")]


def test_jobs_spread_over_all_parts() -> None:
    shards = Shards("mail", count=8)
    found = Counter(shards.of(job().id).queue for _ in range(4_000))
    assert sorted(found) == shards.names == [f"mail/{number}" for number in range(8)]
    assert min(found.values()) > 400


@pytest.mark.parametrize("options", [{}, {"key": "user:7"}, {"key": "user:7", "priority": -5}])
def test_an_id_and_a_key_lead_to_where_the_job_is(options: dict[str, object]) -> None:
    shards = Shards("mail", count=8)
    for _ in range(100):
        placed = shards.placed(job(**options))
        assert priority_of(placed.id) == (placed.options.priority or 0)
        if placed.options.key:
            assert next(shards.places(placed.options.key)) is next(shards.places(placed.id))


def test_a_job_is_looked_for_everywhere_in_the_end() -> None:
    """Also when the queue had fewer shards, or none, once."""
    before, after = Shards("mail", count=3), Shards("mail", count=8)
    for _ in range(50):
        new = job()
        assert before.of(new.id) in set(after.places(new.id))
    places = list(after.places("user:7"))
    assert places[-1] == Keys("mail")
    assert len(places) == len(set(places)) == 9


def test_each_shard_is_in_a_slot_of_its_own() -> None:
    tags = {part.ready.partition("{")[2].partition("}")[0] for part in Shards("mail", count=8).parts}
    assert len(tags) == 8


def test_names_of_shards() -> None:
    assert (whole_of("mail/12"), whole_of("mail")) == ("mail", "mail")
    assert shards_of("mail", {"mail/10", "mail/9", "mail", "mailing/0", "mail-x/1"}) == ["mail/9", "mail/10"]


@pytest.mark.parametrize("count", [0, -1, 257])
def test_a_count_that_makes_no_sense_is_refused(count: int) -> None:
    with pytest.raises(SettingsError, match="shards must be from 1 to 256"):
        Shards("mail", count=count)


@pytest.mark.parametrize("name", ["mail/", "mail/x", "mail/01", "mail/1/2", "/1", "mail/1000"])
def test_what_is_no_name_of_a_shard(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a queue"):
        Keys(name)


def test_a_shard_has_no_shards() -> None:
    with pytest.raises(SettingsError, match="is a shard itself"):
        Shards("mail/1", count=2)


def test_a_queue_that_is_only_named_has_the_count_that_was_said_last() -> None:
    assert len(Shards.named("mail", "shop").parts) == 1
    for count in (8, 3, 1, 4):
        assert len(Shards.said("mail", "shop", count).parts) == count
        assert len(Shards.named("mail", "shop").parts) == count


def test_who_says_no_count_has_one_part_and_changes_nothing_for_others() -> None:
    Shards.said("mail", "shop", 8)
    assert len(Shards.said("mail", "shop", None).parts) == 1
    with pytest.raises(SettingsError):
        Shards.said("mail", "shop", 0)
    assert len(Shards.named("mail", "shop").parts) == 8
    assert len(Shards.named("mail", "other").parts) == len(Shards.named("news", "shop").parts) == 1
