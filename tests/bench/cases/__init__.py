"""What is measured, in this order."""

from __future__ import annotations

from tests.bench.cases.case import Case
from tests.bench.cases.cost import IDLE, MEMORY, STARTUP
from tests.bench.cases.crash import CRASH
from tests.bench.cases.delay import DUE, LATENCY, LATENESS
from tests.bench.cases.drain import DRAIN
from tests.bench.cases.enqueue import BULK, CONCURRENT, ENQUEUE, THREADS
from tests.bench.cases.growth import GROWTH

CASES: tuple[Case, ...] = (
    ENQUEUE,
    BULK,
    CONCURRENT,
    THREADS,
    DRAIN,
    LATENCY,
    LATENESS,
    DUE,
    MEMORY,
    IDLE,
    CRASH,
    GROWTH,
    STARTUP,
)

BY_NAME = {case.name: case for case in CASES}
