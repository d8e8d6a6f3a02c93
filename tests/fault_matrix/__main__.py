"""`python -m tests.fault_matrix [ROW ...]`"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Collection

import pytest

from tests.fault_matrix.page import PAGE, ROOT, statuses, written


class Recorder:
    """Selects the tests of some rows, or of all, and counts how they went."""

    def __init__(self, wanted: Collection[int]) -> None:
        self._wanted = set(wanted)
        self._rows: dict[str, set[int]] = {}
        #: By row: how many cases passed, failed, were skipped.
        self.outcomes: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        others = []
        for item in items:
            rows = {number for mark in item.iter_markers("row") for number in mark.args}
            if rows & self._wanted if self._wanted else rows:
                self._rows[item.nodeid] = rows
            else:
                others.append(item)
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.nodeid in self._rows]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            for number in self._rows[report.nodeid]:
                self.outcomes[number][report.outcome] += 1


def main(numbers: Collection[int]) -> int:
    """Run the tests of these rows, or of all, and write the table."""
    os.environ["REDJOBS_SLOW_TESTS"] = "1"
    recorder = Recorder(numbers)
    code = pytest.main(["-q", str(ROOT / "tests")], plugins=[recorder])
    page = PAGE.read_text()
    told = {
        number: ", ".join(
            f"{counts[word]} {word}" for word in ("passed", "failed", "skipped") if counts[word]
        )
        for number, counts in recorder.outcomes.items()
        if not numbers or number in numbers
    }
    PAGE.write_text(written(page, (statuses(page) if numbers else {}) | told))
    return int(code)


if __name__ == "__main__":
    sys.exit(main([int(word) for word in sys.argv[1:]]))
