"""Write a message: Jinja2 templates of ``config/templates`` in a sandbox.

A template is a folder ``<name>/`` with ``subject.txt``, ``body.html``, ``body.txt`` and, for push,
``push.txt``. An experiment's variant may replace any of them in ``<name>/variants/<variant>/``. Templates
see the command's `data` and what ``_context`` adds; whatever they name and do not get is an error of that
message, with the name of the file and of the missing thing, never an empty hole in a mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from jinja2 import (
    DictLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    select_autoescape,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.decisions import MessageCommand
from models.errors import PermanentError
from services.channels.base import Rendered
from services.channels.tokens import Link, Tokens

_SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}
_REQUIRED = {"email": ("subject.txt", "body.html", "body.txt"), "push": ("subject.txt", "push.txt")}


class TemplateFailedError(PermanentError):
    """A template is missing, wrong, or asks for something that the command does not hold."""


def money(amount: float | int | str, currency: str = "GBP") -> str:
    """Write an amount in major units.

    Examples
    --------
    >>> money(1234.5), money(3, "CHF")
    ('£1,234.50', '3.00 CHF')
    """
    value = Decimal(str(amount)).quantize(Decimal("0.01"), ROUND_HALF_UP)
    symbol = _SYMBOLS.get(currency)
    return f"{symbol}{value:,}" if symbol else f"{value:,} {currency}"


def product(name: str) -> str:
    """Write a product's name so that it does not shout; names in mixed case stay as they are.

    Examples
    --------
    >>> product("WHITE HANGING HEART T-LIGHT HOLDER")
    'White hanging heart t-light holder'
    """
    tidy = " ".join(name.split())
    return tidy.capitalize() if tidy.isupper() else tidy


def environment_of(folder: Path) -> ImmutableSandboxedEnvironment:
    """The templates of a folder as they are; a wrong one fails when a message needs it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace") for path in files}
    environment = ImmutableSandboxedEnvironment(
        loader=DictLoader(texts),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(money=money, product=product)
    return environment


def checked_environment(folder: Path) -> ImmutableSandboxedEnvironment:
    """The templates of a folder, each of which can be read.

    Raises
    ------
    TemplateFailedError
        One of them is no template; with file and line.
    """
    environment = environment_of(folder)
    faults = []
    for name in environment.list_templates():
        try:
            environment.get_template(name)
        except TemplateSyntaxError as error:
            faults.append(f"{folder / name}:{error.lineno}: {error.message}")
        except TemplateError as error:
            faults.append(f"{folder / name}: {error.message}")
    if faults:
        raise TemplateFailedError("\n".join(faults))
    return environment


class Templates:
    """Render commands.

    Parameters
    ----------
    folder : ``config/templates``.
    tokens : signs the links.
    public_url : address that links point to.
    """

    def __init__(self, folder: Path, tokens: Tokens, public_url: str) -> None:
        self._tokens = tokens
        self._public_url = public_url.rstrip("/")
        # Read once, all of them: a message is never written half from an old and half from a new folder.
        self._environment = environment_of(folder)

    def use(self, environment: ImmutableSandboxedEnvironment) -> None:
        """Write from now on with the templates of :func:`checked_environment`."""
        self._environment = environment

    def render(self, command: MessageCommand) -> Rendered:
        """Write the message.

        Raises
        ------
        TemplateFailedError
            It cannot be written, now or later.
        """
        unsubscribe_url = None
        if command.purpose != "transactional":
            token = self._tokens.sign("unsubscribe", Link(command.user, command.id, command.campaign))
            unsubscribe_url = f"{self._public_url}/u/{token}"
        context = self._context(command, unsubscribe_url)
        required = _REQUIRED.get(command.channel, ("subject.txt", "body.txt"))
        parts = {
            part: self._part(command, part, context, required=part in required)
            for part in ("subject.txt", "body.html", "body.txt", "push.txt")
        }
        return Rendered(
            subject=" ".join(parts["subject.txt"].split()),
            text=parts["body.txt"].strip() + "\n",
            html=parts["body.html"],
            push=" ".join(parts["push.txt"].split()),
            unsubscribe_url=unsubscribe_url,
        )

    def _part(self, command: MessageCommand, part: str, context: Mapping[str, Any], *, required: bool) -> str:
        names = [f"{command.template}/{part}"]
        if command.variant:
            names.insert(0, f"{command.template}/variants/{command.variant}/{part}")
        try:
            return self._environment.select_template(names).render(context)
        except TemplateNotFound as error:
            # select_template itself says so of all names; anything else is an include that is missing.
            if not required and error.name in names:
                return ""
            raise TemplateFailedError(f"template {command.template}/{part}: there is no file {error.name}") from error
        except TemplateError as error:
            raise TemplateFailedError(f"template {command.template}/{part}: {error.message}") from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise TemplateFailedError(f"template {command.template}/{part}: {error}") from error

    def _context(self, command: MessageCommand, unsubscribe_url: str | None) -> dict[str, Any]:
        return {
            "name": "",
            "items": [],
            "currency": "GBP",
            "offer": None,
            **command.data,
            "user": command.user,
            "campaign": command.campaign,
            "variant": command.variant,
            "locale": command.locale,
            "shop_url": self._public_url,
            "unsubscribe_url": unsubscribe_url,
        }
