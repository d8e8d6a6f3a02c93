"""Verdicts from results: what is compared with what, and what is unknown where it was not measured."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.cases.cost import VALKEY
from tests.bench.cases.delay import FULL_SCHEDULE
from tests.bench.environments import ROOT
from tests.bench.judge import IDEAL, NEWER, PLAIN, US, Verdict
from tests.bench.results import Results, Sample, Variant, load
from tests.bench.targets import judge

PEERS = {
    US: {"limit": "", "schedule": "Redis"},
    NEWER: {"limit": "yes", "schedule": "Redis"},
    PLAIN: {"limit": "yes", "schedule": "Redis"},
    "timely": {"limit": "", "schedule": "the worker's memory"},
    "polling": {"limit": "", "schedule": "Redis"},
}
PYTHONS = {US: "3.11.7", NEWER: "3.13.0", "timely": "3.11.7", "polling": "3.13.1"}
FULL, VALKEYS = (Variant(extra=extra) for extra in (FULL_SCHEDULE, VALKEY))


def sample(case: str, peer: str = US, variant: Variant | None = None, /, **metrics: Any) -> Sample:
    return Sample(case, peer, variant or Variant(), metrics)


def verdicts(*samples: Sample, settings: dict[str, dict[str, str]] = PEERS) -> dict[str, Verdict]:
    """By their texts; those that begin with dots stand behind the text that they go on."""
    versions = {peer: {"python": python} for peer, python in PYTHONS.items()}
    found, begin = {}, ""
    for verdict in judge(Results({}, list(samples), versions, settings)):
        whole = f"{begin} {verdict.text}" if verdict.text.startswith("…") else verdict.text
        begin = begin if verdict.text.startswith("…") else verdict.text
        found[whole] = verdict
    return found


def one(told: dict[str, Verdict], *words: str) -> Verdict:
    (found,) = [verdict for text, verdict in told.items() if all(word in text for word in words)]
    return found


def late(peer: str, p50: float, variant: Variant | None = None, **more: float) -> Sample:
    return sample("lateness", peer, variant, p50_ms=p50, p99_ms=2 * p50, min_ms=0.1, **more)


def test_what_was_not_measured_is_unknown() -> None:
    assert {verdict.word for verdict in verdicts().values()} == {"unknown"}


def test_results_of_earlier_runs_can_be_judged() -> None:
    found = judge(load([ROOT / "docs" / "performance.json"]))
    assert len(found) == len(verdicts())
    assert "reached" in {verdict.word for verdict in found}


def test_lateness_is_compared_with_schedules_in_redis() -> None:
    samples = [late(US, 1.5), late("timely", 1.0), late("polling", 1.6)]
    told = verdicts(*samples)
    p50, p99 = one(told, "Lateness", "p50: below every peer"), one(told, "Lateness", "… p99")
    assert (p50.found, p50.reached) == ("1.50 ms, polling (default) 1.60 ms", True)
    assert (p99.found, p99.reached) == ("3.00 ms, polling (default) 3.20 ms", True)


def test_runs_that_do_not_say_where_schedules_are_are_not_judged_by_it() -> None:
    before = {peer: {"limit": told["limit"]} for peer, told in PEERS.items()}
    told = verdicts(late(US, 1.5), late("polling", 1.6), settings=before)
    assert one(told, "Lateness", "p50: below every peer that").word == "unknown"
    assert told["Lateness: p50 below 2 ms, p99 below 5 ms"].reached


@pytest.mark.parametrize(("mb", "word"), [(74.2, "reached"), (75.5, "missed")])
def test_a_full_schedule_is_judged_by_the_same_limits(mb: float, word: str) -> None:
    none, full = late(US, 1.5, rss_total_mb=74.0), late(US, 2.5, FULL, rss_total_mb=mb, waiting=1e6)
    told = verdicts(none, full)
    assert one(told, "with a full schedule p50 below 2 ms").word == "missed"
    assert one(told, "the worker's memory").word == word


def test_a_single_early_job_is_one_too_many() -> None:
    early = sample("lateness", US, FULL, min_ms=-0.1)
    assert one(verdicts(late(US, 1.5), late(US, 1.5, FULL), late(US, 1.5, FULL)), "never early").reached
    told = verdicts(late(US, 1.5), late(US, 1.5, FULL), late(US, 1.5, FULL), early)
    assert one(told, "never early").word == "missed"


@pytest.mark.parametrize(("first", "scheduling", "then"), [(2.9, 4.9, 6.4), (3.1, 5.1, 6.6)])
def test_very_many_at_once_disturb_nobody(first: float, scheduling: float, then: float) -> None:
    due = sample(
        "due",
        first_ms=first,
        lone_p50_ms=2.0,
        lone_max_ms=3.0,
        slowest_ms=1.0,
        slowest_enqueue_ms=scheduling,
        usual_p50_ms=1.5,
        elsewhere_p50_ms=then,
        elsewhere_max_ms=9.0,
        jobs=100,
    )
    told = verdicts(due)
    found = [verdict.reached for text, verdict in told.items() if text.startswith("The first of very many")]
    assert found == [first < 3] * 3


def test_what_is_ready_takes_less_than_what_is_scheduled() -> None:
    redis = sample("memory", ready=200, scheduled=300)
    text = "A ready job"
    assert one(verdicts(redis, sample("memory", US, VALKEYS, ready=200, scheduled=280)), text).reached
    assert (
        one(verdicts(redis, sample("memory", US, VALKEYS, ready=200, scheduled=190)), text).word == "missed"
    )
    assert one(verdicts(redis), text).word == "unknown"


def test_one_by_one_is_the_median_of_the_rounds_ratios() -> None:
    rounds = [(100, 100), (95, 100), (10, 40)]
    samples = [sample("enqueue", US, rate=ours) for ours, _ in rounds]
    samples += [sample("enqueue", PLAIN, rate=theirs) for _, theirs in rounds]
    assert one(verdicts(*samples), "one by one").found == "95% of 100/s, the median of 3 rounds"


@pytest.mark.parametrize(("drain", "word"), [(0.86, "reached"), (0.84, "missed")])
def test_growth_is_judged_by_the_worst_share_and_tells_that_of_the_ideal_loop(
    drain: float, word: str
) -> None:
    samples = [
        sample("growth", US, drain_share=drain, enqueue_share=0.97, jobs=1e6),
        sample("growth", IDEAL, drain_share=0.9, enqueue_share=1.0, jobs=1e6),
    ]
    found = one(verdicts(*samples), "A hundred times")
    assert found.word == word
    assert f"drain {drain:.0%} (90%)" in found.found


def test_a_peer_on_a_newer_python_is_compared_on_it_as_well() -> None:
    text = "four times the quickest peer"
    ours = [
        sample("drain", US, rate=100),
        sample("drain", US, Variant("best"), rate=110),
        sample("drain", NEWER, rate=90),
    ]
    newer = one(verdicts(*ours, sample("drain", "polling", rate=20)), text)
    assert newer.found == "5.0 times polling (default), 20/s; at its own best 5.5; on the same Python 4.50"
    assert "same Python" not in one(verdicts(*ours, sample("drain", "timely", rate=20)), text).found


def test_threads_that_share_a_queue_are_no_slower_than_one() -> None:
    assert one(verdicts(sample("threads", gain=1.2)), "8 threads").reached
    assert one(verdicts(sample("threads", gain=0.9)), "8 threads").word == "missed"
