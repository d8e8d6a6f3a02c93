"""The table in docs/reliability.md, of the rows and of the marks in the tests' source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fault_matrix.rows import ROWS, Row

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
MARK = "<!-- Below: written by `python -m tests.fault_matrix`, which runs these tests. -->\n"

_HEAD = "\n| | when this happens | this holds | tests | last run |\n|---|---|---|---|---|\n"
_STATUS = re.compile(r"\| (\d+) \|.*\| ([^|]*?)(?:\. [^|]*)? \|")


@dataclass(frozen=True, order=True)
class MarkedTest:
    """A test that is about a row."""

    path: str
    name: str


def marked() -> dict[int, list[MarkedTest]]:
    """The tests of each row, as they are marked in the source: all of them, whatever a run selects."""
    found: dict[int, list[MarkedTest]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, numbers in _marks(ast.parse(path.read_text())):
            for number in numbers:
                found.setdefault(number, []).append(MarkedTest(str(path.relative_to(ROOT)), name))
    return found


def _marks(module: ast.Module) -> Iterator[tuple[str, set[int]]]:
    everywhere = {
        number
        for node in module.body
        if isinstance(node, ast.Assign) and "pytestmark" in map(ast.unparse, node.targets)
        for number in _numbers(node.value)
    }
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, everywhere.union(*map(_numbers, node.decorator_list))


def _numbers(node: ast.expr) -> set[int]:
    """The arguments of each `pytest.mark.row(...)` in an expression."""
    return {
        argument.value
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.row"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    }


def statuses(page: str) -> dict[int, str]:
    """What the page says of each row's last run."""
    return {int(number): text for number, text in _STATUS.findall(page[page.index(MARK) :])}


def written(page: str, told: Mapping[int, str]) -> str:
    """The page with its table made anew; `told` is what the last run of each row gave."""
    tests = marked()
    lines = [_line(row, tests.get(row.number, []), told.get(row.number, "not run")) for row in ROWS]
    return page[: page.index(MARK)] + MARK + _HEAD + "".join(lines)


def _line(row: Row, tests: list[MarkedTest], status: str) -> str:
    links = "<br>".join(f"[`{test.name}`](../{test.path})" for test in sorted(set(tests)))
    last = ". ".join(filter(None, (status if tests else row.untested, row.note)))
    return f"| {row.number} | {row.fault} | {row.holds} | {links} | {last} |\n"
