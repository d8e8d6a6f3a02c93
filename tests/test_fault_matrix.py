"""The table of faults is about the tests that there are, and every fault has one."""

from __future__ import annotations

from tests.fault_matrix.page import PAGE, marked, statuses, written
from tests.fault_matrix.rows import ROWS

WRITE = "run: python -m tests.fault_matrix, with the numbers of the rows that have changed"


def test_the_table_lists_the_tests_that_there_are() -> None:
    page = PAGE.read_text()
    assert page == written(page, statuses(page)), WRITE


def test_every_row_has_a_test_or_a_reason_and_every_mark_has_a_row() -> None:
    numbers = [row.number for row in ROWS]
    assert numbers == list(range(1, len(ROWS) + 1))
    tests = marked()
    assert tests.keys() <= set(numbers)
    untested = [row.number for row in ROWS if row.untested]
    assert untested == [number for number in numbers if number not in tests], "`untested` in rows.py is wrong"


def test_every_row_has_passed_when_the_table_was_written() -> None:
    told = statuses(PAGE.read_text())
    wrong = {number: told.get(number) for number in marked() if "passed" not in (told.get(number) or "")}
    failed = {number: text for number, text in told.items() if "failed" in text}
    assert not wrong | failed, WRITE
