"""A short chaos run of everything, and slow ones of each kind: scripts/chaos in seconds."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.chaos.campaign import Progress, Seen, Settings, run
from tests.chaos.fleet import ROOT
from tests.chaos.nemesis import MIXES, plan
from tests.chaos.verdict import Verdict, figures, judge, table

#: Whether what a run did has left traces, as it must.
Traces = Callable[[Seen, Verdict], bool]


def traces_of_all(seen: Seen, _: Verdict) -> bool:
    """Workers lost the server, which was killed, and requests were lost."""
    return "kill_server" in seen.acts and _lost_the_server(seen) and seen.used["lose request"] > 0


def _lost_the_server(seen: Seen) -> bool:
    return seen.log_lines["the server is gone"] > 0


def traces_of_kills(seen: Seen, verdict: Verdict) -> bool:
    """Jobs ran again for it, and orphans noticed that they were some."""
    return bool(verdict.recoveries) and seen.log_lines["the supervisor is gone"] > 0


def traces_of_freezes(seen: Seen, verdict: Verdict) -> bool:
    """Others swept those that were frozen, and recovered their jobs."""
    return seen.log_lines["recovered"] > 0 and verdict.repeats.total > 0


def traces_of_the_network(seen: Seen, _: Verdict) -> bool:
    """Rules were used; a caller gave up, enqueued its key again, and was told what had become of it."""
    again = sum(count for what, count in seen.history.errors.items() if what.startswith("keyed again"))
    rules = {name for name, used in seen.used.items() if used}
    unknown = seen.history.errors["keyed: EnqueueUnknown"]
    return {"lose reply", "hold reply"} <= rules and unknown > 0 and again > 0


def traces_of_the_server(seen: Seen, _: Verdict) -> bool:
    """It was full, it was killed and paused, and workers noticed that it was gone."""
    full = sum(count for what, count in seen.history.errors.items() if "OutOfMemory" in what)
    return full > 0 and {"kill_server", "pause"} <= seen.acts.keys() and _lost_the_server(seen)


@pytest.mark.row(1, 2, 3, 4, 7, 9, 11, 16)
@pytest.mark.parametrize(
    # The seeds are such that each kind of act is there.
    ("mix", "seed", "seconds", "rate", "traces"),
    [
        ("all", 840, 6.0, 3.0, traces_of_all),
        pytest.param("kills", 65, 4.0, 3.0, traces_of_kills, marks=pytest.mark.slow),
        pytest.param("freezes", 11, 4.0, 1.0, traces_of_freezes, marks=pytest.mark.slow),
        pytest.param("network", 550, 4.0, 3.0, traces_of_the_network, marks=pytest.mark.slow),
        pytest.param("server", 2348, 7.0, 1.0, traces_of_the_server, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_lost(mix: str, seed: int, seconds: float, rate: float, traces: Traces) -> None:
    # This one kills and freezes workers, kills the server, cuts connections and loses replies.
    # Where all cores are busy with other tests, a shorter lease runs out without any of that.
    seen = run(Settings(seed=seed, mix=mix, seconds=seconds, rate=rate, lease=4.0), lambda _: None)
    verdict = judge(seen)
    assert verdict.is_valid, table(seen, verdict)
    assert verdict.queue.ok > 50
    assert traces(seen, verdict), table(seen, verdict)
    assert figures(seen, verdict)["valid"]


@pytest.mark.parametrize("mix", sorted(MIXES))
def test_a_seed_is_a_schedule(mix: str) -> None:
    acts = plan(mix, 3, 60)
    assert acts == plan(mix, 3, 60) != plan(mix, 4, 60)
    assert {act.name for act in acts} <= MIXES[mix].keys()
    assert [act.at for act in acts] == sorted(act.at for act in acts)


def test_a_plan_for_a_number_of_kills_has_some_to_spare() -> None:
    assert sum(act.name.startswith("kill_") for act in plan("kills", 1, 0, kills=100)) == 150


class Stream(io.StringIO):
    """Writes down, and says whether it is a terminal."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def test_a_terminal_sees_each_line_of_progress_and_a_file_one_in_ten_seconds() -> None:
    now = 0.0
    terminal, file = Stream(is_terminal=True), Stream(is_terminal=False)
    both = [Progress(stream, lambda: now) for stream in (terminal, file)]
    for now in (1.0, 10.0, 11.0, 19.0, 25.0):
        for progress in both:
            progress.say(f"{now:g} s")
    for progress in both:
        progress.end()
    assert file.getvalue() == "10 s\n25 s\n"
    assert [line.strip() for line in terminal.getvalue().split("\r")[1:]] == [
        "1 s",
        "10 s",
        "11 s",
        "19 s",
        "25 s",
        "",
        "",
    ]


@pytest.mark.slow
def test_the_command_says_its_verdict_as_json() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.chaos",
        "--seconds",
        "3",
        "--seed",
        "31",
        "--lease",
        "4",
        "--json",
    ]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=55)
    assert told.returncode == 0, told.stdout + told.stderr
    figures = json.loads(told.stdout)
    assert (figures["seed"], figures["valid"], figures["problems"]) == (31, True, [])
    assert told.stderr.startswith("seed 31\n")
