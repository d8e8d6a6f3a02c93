"""A short chaos run of everything, and slow ones of each kind: scripts/chaos in seconds."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from tests.chaos.campaign import Progress, Settings, run
from tests.chaos.fleet import ROOT
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
