"""An experiment as one HTML file that needs nothing else: verdict, plots, all comparisons, what was declared. Pure."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.experiments.document import Document
from models.experiments.record import Record
from services.cards import effect_words, moment, part_words, progress, ratio_words, state_of, twice_words
from services.jobs.experiments.plots import forest, narrowing

TONES = {"better": "good", "worse": "bad", "harm": "bad", "sample_ratio_alarm": "bad", "mixed": "note"}


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("services.jobs.experiments", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def report(card: Document, record: Record | None) -> str:
    """HTML of a card; `record` brings its history."""
    points = record.points if record is not None else []
    treatments = list(dict.fromkeys(line["variant"] for line in card["comparisons"]))
    primary = dict.fromkeys(line["metric"] for line in card["comparisons"] if line["role"] == "primary")
    plots = [(metric, Markup(narrowing(points, metric, treatments))) for metric in primary]
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=card["description"] or card["experiment"],
            card=card,
            tone=TONES.get(card["verdict"], ""),
            state=state_of(card).capitalize(),
            progress=progress(card),
            level=f"{100 * (1 - card['alpha']):g} %",
            forest=Markup(forest(card["comparisons"])),
            plots=[(name, plot) for name, plot in plots if plot],
            lines=[_line(line) for line in card["comparisons"]],
            parts=[part_words(row) for row in card.get("segments", ())],
            facts=_facts(card),
            at=moment(card["at"]),
        )
    )


def _line(line: Document) -> dict[str, Any]:
    size, interval = effect_words(line)
    p = line["p"] if line["p_adjusted"] is None else line["p_adjusted"]
    shown = "\N{EN DASH}" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return {**line, "size": size, "within": interval, "shown_p": shown}


def _facts(card: Document) -> list[tuple[str, str]]:
    ratio = card["sample_ratio"]
    mixtures = {line["metric"]: line["always_valid"]["mixture"] for line in card["comparisons"]}
    tuned = ", ".join(
        f"{metric}: tau {mixture['tau']:g}" if mixture["tau"] is not None else f"{metric}: rho {mixture['rho']:.4g}"
        for metric, mixture in mixtures.items()
    )
    bandit = card.get("allocation")
    told = (
        [] if bandit is None else [("bandit", ", ".join(f"{one} {part:.1%}" for one, part in bandit["shares"].items()))]
    )
    return [
        *told,
        ("experiment", f"{card['experiment']}, version {card['version']}"),
        ("method", f"{card['method']}, alpha {card['alpha']:g}"),
        ("frozen mixture", tuned),
        ("planned users", f"{card['planned']:,}" if card["planned"] else "none were planned"),
        ("exposed users", ", ".join(f"{name} {users:,}" for name, users in card["users"].items())),
        ("shown two variants", twice_words(card) if any(card["twice"].values()) else "nobody"),
        ("sample ratio", f"{ratio_words(card)}{' ALARM' if ratio['alarm'] else ''}"),
        ("since", moment(card["since"]) if card["since"] else "nobody is exposed yet"),
    ]
