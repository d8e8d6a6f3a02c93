"""The bench itself: every case runs, all jobs that are run are counted, and the page can be written.

No timings.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import page
from tests.bench.cases import CASES
from tests.bench.environments import ROOT
from tests.bench.results import load
from tests.bench.roster import PEERS
from tests.waiting import wait_until

# Ten seconds of a machine that does nothing else; longer than a test may take on one that is busy.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "results.json"
    own = ",".join(peer.name for peer in PEERS if peer.own)
    assert bench.main(["--smoke", "--only", own, "--json", str(path)]) == 0
    return path


def test_every_case_runs_and_all_jobs_that_are_run_are_counted(results: Path) -> None:
    found = load([results])
    assert {sample.case for sample in found.samples if sample.metrics} == {case.name for case in CASES}
    assert not [sample for sample in found.samples if sample.reason]


def test_the_page_says_what_was_found(results: Path, tmp_path: Path) -> None:
    page.write(load([results]), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    for case in CASES:
        assert case.title[1:] in text
    for peer in ("redjobs", "ideal", "bare list", "redis-py alone"):
        assert peer in text
    for plot in tmp_path.glob("*.svg"):
        assert f"]({plot.name})" in text


def test_who_ends_it_while_it_measures_ends_the_server_and_the_workers_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", "growth,ideal"]
    command += ["--json", str(tmp_path / "results.json")]
    own, said = {"TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]}, tmp_path / "stderr"
    with said.open("wb") as log, subprocess.Popen(command, cwd=ROOT, env=own, stderr=log) as process:
        try:
            wait_until(lambda: list(tmp_path.glob("redjobs-bench-*/worker-*.log")), 60)
            process.terminate()
            assert process.wait(60) == 143
        finally:
            process.kill()
    assert "growth" not in said.read_text()  # no measurement was brought to its end
    assert not list(tmp_path.glob("redjobs-bench-*"))
    assert not _working_in(tmp_path)


def _working_in(home: Path) -> list[Path]:
    """Processes whose directory is in this one, though it may be gone; none where there is no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "cwd").readlink()).startswith(str(home)):
                found.append(process)
    return found


def test_peers_are_pinned_and_their_settings_are_told() -> None:
    for peer in PEERS:
        assert all("==" in package for package in (*peer.packages, *peer.best_packages)), peer.name
        assert peer.default, peer.name
        assert peer.own or peer.control or peer.best, peer.name


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no case and no peer: drian"):
        bench.main(["--only", "drian"])
