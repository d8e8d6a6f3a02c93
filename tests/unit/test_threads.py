"""How many plain jobs are held at once: as many as are over in a moment, by those that ran lately."""

from __future__ import annotations

import pytest

from redjobs.commands import BATCH
from redjobs.hooks import Hooks
from redjobs.worker.station import BATCHES, Surroundings
from redjobs.worker.threads import MainThread


@pytest.mark.parametrize(
    ("seconds", "least", "most"),
    [(1e-5, 300, BATCHES * BATCH), (0.005, 2, 4), (0.02, 1, 1), (0.05, 1, 1)],
)
def test_a_claim_is_for_as_much_as_is_done_in_a_fiftieth_of_a_second(
    seconds: float, least: int, most: int
) -> None:
    station = MainThread(Surroundings(lambda: None, Hooks()))
    station._seconds = seconds
    assert least <= station.free(0) <= most
