"""Bars as SVG, written by hand: two kinds of picture need no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 760, 190, 110, 20, 10, 56
_OURS, _THEIRS, _TEXT, _LINE = "#0f766e", "#94a3b8", "#334155", "#e2e8f0"
_FONT = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture. `name` : file name under docs/images. `title` : what it shows, also for those who cannot see it."""

    name: str
    title: str
    svg: str


def bars(name: str, title: str, unit: str, values: Sequence[tuple[str, float]], ours: Sequence[str] = ()) -> Plot:
    """Horizontal bars on a logarithmic axis, one for each of `values` (label, value > 0); `ours` stand out.

    Examples
    --------
    >>> plot = bars("x.svg", "Cost", "us", [("Kairos", 20.0), ("other", 500.0)], ["Kairos"])
    >>> plot.svg.count("<rect")
    3
    """
    low = floor(log10(min(value for _, value in values)) - 0.01)
    high = max(ceil(log10(max(value for _, value in values))), low + 1)
    height = _TOP + len(values) * (_BAR + _GAP) + 34
    width = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        return _LEFT + width * (log10(value) - low) / (high - low)

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' role='img' {_FONT} font-size='13'>",
        f"<title>{escape(title)}</title>",
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
        f"<text x='16' y='26' font-size='16' font-weight='600' fill='{_TEXT}'>{escape(title)}</text>",
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f"<line x1='{at:.1f}' x2='{at:.1f}' y1='{_TOP - 8}' y2='{height - 28}' stroke='{_LINE}'/>")
        parts.append(_text(at, height - 10, f"{10.0**power:g} {unit}", "middle"))
    for number, (label, value) in enumerate(values):
        y = _TOP + number * (_BAR + _GAP)
        colour = _OURS if label in ours else _THEIRS
        parts.append(
            f"<rect x='{_LEFT}' y='{y}' width='{x(value) - _LEFT:.1f}' height='{_BAR}' rx='2' fill='{colour}'/>"
        )
        parts.append(_text(_LEFT - 8, y + 15, label, "end"))
        parts.append(_text(x(value) + 6, y + 15, f"{value:,.{0 if value >= 100 else 1}f} {unit}", "start"))
    return Plot(name, title, "\n".join([*parts, "</svg>", ""]))


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f"<text x='{x:.1f}' y='{y}' text-anchor='{anchor}' fill='{_TEXT}'>{escape(text)}</text>"
