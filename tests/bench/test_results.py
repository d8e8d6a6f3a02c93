"""Results of several runs, read as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.results import Results, Sample, Variant, load


def saved(path: Path, scale: str, *rates: float, case: str = "drain") -> Path:
    about: dict[str, Any] = {"scale": scale, "date": path.name, "commit": "abc", "seconds": 60}
    samples = [Sample(case, "redjobs", Variant("default", "sync"), {"rate": rate}) for rate in rates]
    Results(about | {"rounds": {"redjobs": len(rates)}}, samples, {}, {}).save(path)
    return path


def test_runs_of_one_scale_are_rounds_of_one_run(tmp_path: Path) -> None:
    found = load([saved(tmp_path / "monday", "quick", 1.0, 2.0), saved(tmp_path / "tuesday", "quick", 3.0)])
    assert [sample.metrics["rate"] for sample in found.samples] == [1.0, 2.0, 3.0]
    assert found.about["rounds"] == {"redjobs": 3}
    assert (found.about["date"], found.about["commit"]) == ("monday and tuesday", "abc")
    assert found.about["seconds"] == 120


def test_a_run_of_another_scale_replaces_the_cases_that_it_has(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path / "a", "quick", 1.0),
        saved(tmp_path / "b", "full", 5.0),
        saved(tmp_path / "c", "full", 6.0, case="bulk"),
    ]
    found = load(paths)
    assert [(each.case, each.metrics["rate"]) for each in found.samples] == [("drain", 5.0), ("bulk", 6.0)]
