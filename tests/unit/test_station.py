"""The contexts in which jobs run."""

from __future__ import annotations

import contextvars
import decimal

import pytest

from redjobs.worker.station import Contexts


def _precision() -> int:
    return decimal.getcontext().prec


def _set_precision(digits: int) -> None:
    decimal.getcontext().prec = digits


@pytest.fixture(params=[None, 9])
def original(request: pytest.FixtureRequest) -> contextvars.Context:
    """Of an app that has not calculated with decimals, or has said how precisely it wants to."""
    context = contextvars.Context()
    if request.param is not None:
        context.run(_set_precision, request.param)
    return context


def test_what_a_job_says_of_decimals_holds_in_no_other_one(original: contextvars.Context) -> None:
    contexts = Contexts(original)
    usual = contexts.new().run(_precision)
    before, job = contexts.new(), contexts.new()
    job.run(_set_precision, 5)
    assert job.run(_precision) == 5
    assert [each.run(_precision) for each in (before, contexts.new(), original)] == [usual] * 3


def test_what_the_app_says_of_decimals_holds_in_all_jobs() -> None:
    original = contextvars.Context()
    original.run(_set_precision, 9)
    contexts = Contexts(original)
    assert [contexts.new().run(_precision) for _ in range(2)] == [9, 9]
