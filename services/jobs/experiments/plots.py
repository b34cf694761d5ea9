"""Plots of an experiment as SVG: intervals of all comparisons, and how an interval has narrowed. Pure.

Colours are those of Okabe and Ito, which people with any colour vision tell apart; shapes and labels say the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from models.experiments.record import Point

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("", "6 3", "2 3", "8 3 2 3")
INK, SOFT, RULE = "#1b1f2a", "#5a6172", "#d8dce5"
WIDTH, LEFT, RIGHT = 760, 190, 170


def forest(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Lifts with their intervals, one row per comparison; those without an interval say so."""
    rows = [line for line in comparisons if line["shortage"] is None]
    if not rows:
        return ""
    known = [(line, line["lift_interval"]) for line in rows]
    ends = [abs(end) for _, interval in known if interval is not None for end in interval]
    reach = max([*ends, *(abs(line["lift"] or 0.0) for line in rows), 0.01])
    top, step = 34, 34
    height = top + step * len(rows) + 16
    scale = (WIDTH - LEFT - RIGHT) / (2 * reach)
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts = [_axis(ticks(-reach, reach), middle, scale, top - 12, height - 16)]
    for number, (line, interval) in enumerate(known):
        y = top + step * number + 10
        colour = _colour_of(line["claim"])
        name = f"{line['metric']}: {line['variant']}"
        parts.append(_text(LEFT - 12, y + 4, name, anchor="end"))
        if interval is not None:
            low, high = (middle + end * scale for end in interval)
            parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>')
            parts += [
                f'<line x1="{end:.1f}" x2="{end:.1f}" y1="{y - 5}" y2="{y + 5}" stroke="{colour}"/>'
                for end in (low, high)
            ]
        if line["lift"] is not None:
            parts.append(_mark(middle + line["lift"] * scale, y, line["claim"], colour))
            said = f"{line['lift']:+.1%} {line['claim']}"
        else:
            said = "no lift yet"
        parts.append(_text(WIDTH - RIGHT + 12, y + 4, said, colour=colour))
    return _svg(height, parts, "Lift of each variant over the control, with its interval")


def narrowing(points: Sequence[Point], metric: str, variants: Sequence[str]) -> str:
    """Lift and interval of one metric while users matured."""
    series = {
        variant: [
            (point.matured, value, low, high)
            for point in points
            for name, of, value, low, high in point.rows
            if (name, of) == (variant, metric) and value is not None and low is not None and high is not None
        ]
        for variant in variants
    }
    shown = {name: found for name, found in series.items() if len(found) > 1}
    if not shown:
        return ""
    # The first intervals are so wide that nothing else could be seen: the last half sets the scale.
    ends = [abs(end) for found in shown.values() for row in found[len(found) // 2 :] for end in row[2:]]
    reach, most = max([*ends, 0.01]) * 1.15, max(found[-1][0] for found in shown.values())
    top, height, left = 20, 260, 64
    right = WIDTH - RIGHT

    def x(users: float) -> float:
        return left + (right - left) * users / most

    def y(lift: float) -> float:
        return top + (height - top - 40) * (1 - (max(-reach, min(reach, lift)) + reach) / (2 * reach))

    parts = []
    for tick in ticks(-reach, reach):
        line = "none" if tick else "4 3"
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="{RULE}" '
                     f'stroke-dasharray="{line}"/>')  # fmt: skip
        shown_tick = f"{tick:+.0%}" if reach > 0.1 else f"{tick:+.1%}"
        parts.append(_text(left - 8, y(tick) + 4, shown_tick, anchor="end", soft=True))
    parts += [_text(x(tick), height - 20, f"{tick:,.0f}", anchor="middle", soft=True) for tick in ticks(0, most)[1:]]
    parts.append(_text((left + right) / 2, height - 3, "matured users", anchor="middle", soft=True))
    for number, (name, found) in enumerate(shown.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        band = [(x(row[0]), y(row[3])) for row in found] + [(x(row[0]), y(row[2])) for row in reversed(found)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in band)
        parts.append(f'<polygon points="{path}" fill="{colour}" opacity=".14"/>')
        path = " ".join(f"{x(row[0]):.1f},{y(row[1]):.1f}" for row in found)
        line = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{path}" {line}/>')
        parts.append(_text(right + 10, y(found[-1][1]) + 4 + 14 * number, name, colour=colour))
    return _svg(height, parts, f"Lift on {metric} while users matured, with its interval")


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers that divide a range.

    Examples
    --------
    >>> ticks(-0.25, 0.25)
    [-0.2, -0.1, 0.0, 0.1, 0.2]
    """
    rough = (high - low) / wanted
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _axis(marks: Sequence[float], middle: float, scale: float, top: float, bottom: float) -> str:
    parts = []
    for tick in marks:
        at = middle + tick * scale
        stroke = SOFT if not tick else RULE
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}" stroke="{stroke}"/>')
        parts.append(_text(at, top - 6, f"{tick:+.0%}" if tick else "0", anchor="middle", soft=True))
    return "".join(parts)


def _colour_of(claim: str) -> str:
    return {"better": "#0072B2", "worse": "#D55E00", "harm": "#D55E00"}.get(claim, SOFT)


def _mark(x: float, y: float, claim: str, colour: str) -> str:
    """A claim's own shape: up for better, down for worse, a dot for undecided."""
    if claim == "undecided":
        return f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"/>'
    tip, base = (y - 7, y + 5) if claim == "better" else (y + 7, y - 5)
    return f'<polygon points="{x:.1f},{tip} {x - 6:.1f},{base} {x + 6:.1f},{base}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = INK, *, soft: bool = False) -> str:
    fill = SOFT if soft else colour
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'font-family="system-ui, sans-serif" font-size="12.5">{"".join(parts)}</svg>'
    )
