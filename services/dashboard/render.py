"""From a page's parts to HTML, by the templates beside this file. Pure but for reading the templates once."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from services.dashboard import words
from services.dashboard.context import PageContext

# Each part is pushed to a browser on its own, and only when it changed.
PARTS = (
    "header",
    "status",
    "figures",
    "lag",
    "workers",
    "tails",
    "alerts",
    "funnels",
    "experiments",
    "proof",
    "models",
    "reviews",
    "together",
    "recommended",
    "bandit",
    "segments",
)


@cache
def environment() -> Environment:
    """Templates with automatic escaping: user ids and product names come from outside."""
    found = Environment(
        loader=PackageLoader("services.dashboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["words"] = words
    return found


def render(part: str, page: PageContext) -> str:
    """HTML of one part of the page."""
    return environment().get_template(f"{part}.html").render(page=page)


def render_unsubscribe(*, state: str, token: str = "") -> str:
    """Render the page behind the link in a mail; `state` is ask, done, invalid or later."""
    return environment().get_template("unsubscribe.html").render(state=state, token=token)
