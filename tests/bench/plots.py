"""Bar charts as SVG: a small writer, so that the page needs no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 760, 20, 210, 90, 46
_OURS, _LIMIT, _PEER = "#b3202c", "#9aa0a6", "#4a6fa5"


@dataclass(frozen=True)
class Bar:
    """One row."""

    label: str
    value: float
    #: `ours`, `limit` or `peer`: its colour.
    sort: str


def bars(title: str, rows: Sequence[Bar], unit: str) -> str:
    """Horizontal bars from zero, in the order given, each with its value."""
    height = _TOP + _ROW * len(rows) + 12
    most = max((row.value for row in rows), default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
        f' height="{height}" font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="20" font-size="14" font-weight="600" fill="#1f2328">{escape(title)}</text>',
        f'<text x="12" y="36" fill="#57606a">{escape(unit)}</text>',
    ]
    for number, row in enumerate(rows):
        y, width = _TOP + number * _ROW, max(1.0, row.value * scale)
        colour = {"ours": _OURS, "limit": _LIMIT}.get(row.sort, _PEER)
        weight = ' font-weight="600"' if row.sort == "ours" else ""
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end" fill="#1f2328"{weight}>'
            f"{escape(row.label)}</text>",
            f'<rect x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}" fill="{colour}"/>',
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 14}" fill="#1f2328"{weight}>'
            f"{_text(row.value)}</text>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
