"""What redjobs should reach, and whether it does. Only ratios within one run, where times would not be fair."""

from __future__ import annotations
from tests.bench.results import Results
from dataclasses import dataclass

@dataclass(frozen=True)
class Verdict:
    text: str
    found: str
    reached: bool | None

    @property
    def word(self) -> str:
        return "reached" if self.reached else "unknown" if self.reached is None else "missed"

def judge(results: Results) -> list[Verdict]:
    return []
