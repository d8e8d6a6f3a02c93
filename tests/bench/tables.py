"""Results as text for people: one table per case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.bench.cases import BY_NAME
from tests.bench.cases.case import Case
from tests.bench.results import Results, Sample, Variant
from tests.bench.targets import judge

#: Reasons that are facts about a peer, and no failures of the bench.
_EXCUSED = ("has no way to", "not installed", "needs Python", "its workers have no child")


def is_excused(sample: Sample) -> bool:
    """Whether a sample without metrics is as it should be."""
    return any(excuse in sample.reason for excuse in _EXCUSED)


def number(value: float | None) -> str:
    """Three or four digits that matter."""
    if value is None:
        return "-"
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def rows(results: Results, case: Case) -> list[list[str]]:
    """Peer, conditions and medians of each column; a reason instead where nothing was reached."""
    measured = {(s.peer, s.variant) for s in results.samples if s.case == case.name}
    return [
        [peer, str(variant), *_cells(results, case, peer, variant)]
        for variant in results.variants(case.name)
        for peer in results.peers(case.name)
        if (peer, variant) in measured
    ]


def _cells(results: Results, case: Case, peer: str, variant: Variant) -> list[str]:
    if not results.has(case.name, peer, variant):
        reason = (results.reasons(case.name, peer, variant) or ["no reason known"])[0]
        return [f"not reached: {reason}"]
    over = results.values(case.name, peer, "over", variant)
    if over:
        return [f"not within {over[0]:g} s"]
    return [number(results.median(case.name, peer, key, variant)) for key, _ in case.columns]


def text_table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Columns aligned, numbers to the right; a row that is shorter ends in a sentence."""
    full = [row for row in body if len(row) == len(heads)]
    widths = [max(len(cell) for cell in column) for column in zip(heads, *full, strict=True)]
    names = [max([widths[i], *[len(row[i]) for row in body]]) for i in (0, 1)]
    widths[:2] = names

    def line(cells: Sequence[str]) -> str:
        if len(cells) != len(heads):
            return "  ".join([*[cells[i].ljust(names[i]) for i in (0, 1)], " ".join(cells[2:])])[:160]
        left = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
        return "  ".join([*left, *[c.rjust(w) for c, w in zip(cells[2:], widths[2:], strict=True)]])

    return "\n".join([line(heads), "  ".join("-" * width for width in widths), *map(line, body)])


def report(results: Results) -> str:
    """Everything, with the targets at the end."""
    parts = [_about(results.about)]
    for name in dict.fromkeys(sample.case for sample in results.samples):
        case = BY_NAME[name]
        heads = ["", "", *[head for _, head in case.columns]]
        parts.append(f"{case.name}: {case.title}\n{text_table(heads, rows(results, case))}")
    judged = judge(results)
    if judged and results.about["scale"] != "smoke":
        lines = [f"{verdict.word:8} {verdict.text}: {verdict.found}" for verdict in judged]
        parts.append("\n".join(["Targets", *lines]))
    return "\n\n".join(parts) + "\n"


def _about(about: dict[str, Any]) -> str:
    told = {name: value for name, value in about.items() if not isinstance(value, dict)}
    return ", ".join(f"{name} {value}" for name, value in told.items())
