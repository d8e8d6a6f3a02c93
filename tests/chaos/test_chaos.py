"""A short chaos run of everything, and slow ones of each kind: scripts/chaos in seconds."""

from __future__ import annotations

import pytest

from tests.chaos.campaign import Settings, run
from tests.chaos.nemesis import MIXES, plan
from tests.chaos.verdict import figures, judge, table


@pytest.mark.row(1, 2, 3, 4, 7, 9, 11, 16)
@pytest.mark.parametrize(
    ("mix", "seconds", "rate"),
    [
        ("all", 6.0, 3.0),
        pytest.param("kills", 4.0, 3.0, marks=pytest.mark.slow),
        pytest.param("freezes", 3.0, 1.0, marks=pytest.mark.slow),
        pytest.param("network", 4.0, 3.0, marks=pytest.mark.slow),
        pytest.param("server", 5.0, 1.0, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_lost(mix: str, seconds: float, rate: float) -> None:
    # This one kills and freezes workers, kills the server, cuts connections and loses replies.
    # Where all cores are busy with other tests, a shorter lease runs out without any of that.
    seen = run(Settings(seed=840, mix=mix, seconds=seconds, rate=rate, lease=4.0), lambda _: None)
    verdict = judge(seen)
    assert verdict.is_valid, table(seen, verdict)
    assert verdict.queue.ok > 50
    assert sum(seen.acts.values()) > 0
    assert figures(seen, verdict)["valid"]


@pytest.mark.parametrize("mix", sorted(MIXES))
def test_a_seed_is_a_schedule(mix: str) -> None:
    acts = plan(mix, 3, 60)
    assert acts == plan(mix, 3, 60) != plan(mix, 4, 60)
    assert {act.name for act in acts} <= MIXES[mix].keys()
    assert [act.at for act in acts] == sorted(act.at for act in acts)


def test_a_plan_for_a_number_of_kills_has_some_to_spare() -> None:
    assert sum(act.name.startswith("kill_") for act in plan("kills", 1, 0, kills=100)) == 150
