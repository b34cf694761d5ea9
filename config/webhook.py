"""A webhook that somebody declares, as a frozen model, and the secrets it is signed with."""

from __future__ import annotations

import base64
import binascii
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from config.rules import Definition, Slug
from config.units import mistake

Kind = Literal["churn-alert"]
_PREFIX = "whsec_"


class Webhook(Definition):
    """A service that is told of alerts."""

    id: Slug = Field(description="its name for good: `KAIROS_WEBHOOK_SECRETS` names its secret by it", examples=["crm"])
    description: str = Field(default="", description="one sentence for people", examples=["Tells the call centre"])
    enabled: bool = Field(
        default=True, description="`false` tells it nothing more without deleting the file", examples=["true"]
    )
    url: str = Field(
        description="where alerts are posted: http or https; no password in it", examples=["https://crm.example/alerts"]
    )
    kinds: tuple[Kind, ...] = Field(
        default=("churn-alert",), min_length=1, description="what it is told of", examples=["[churn-alert]"]
    )

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        try:
            found = urlsplit(url)
            well = found.scheme in {"http", "https"} and bool(found.hostname) and found.port != 0
        except ValueError:
            well = False
        if not well:
            raise mistake(f"{url!r} is no http or https address", "url: https://crm.example/alerts")
        if found.username is not None or found.password is not None:
            remedy = "the address alone; the receiver knows Kairos by the signature"
            raise mistake("an address with a user name or a password is refused", remedy)
        return url


def read_secrets(text: str) -> dict[str, list[bytes]]:
    """Keys of each webhook, of ``id=whsec_...`` separated by white space; two of one webhook while they are changed.

    Raises
    ------
    ValueError
        It is something else; the message holds no secret.

    Examples
    --------
    >>> {id: len(keys) for id, keys in read_secrets("crm=whsec_" + "QUFB" * 8).items()}
    {'crm': 1}
    """
    found: dict[str, list[bytes]] = {}
    for number, word in enumerate(text.split(), 1):
        name, _, secret = word.partition("=")
        wrong = f"word {number} is not like crm=whsec_..., with base64 of 24 to 64 bytes behind the _"
        if not name or not secret.startswith(_PREFIX):
            raise ValueError(wrong)
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError(wrong) from None
        if not 24 <= len(key) <= 64:
            raise ValueError(wrong)
        found.setdefault(name, []).append(key)
    return found
