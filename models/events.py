"""The public contract of an event: Segment's envelope and the ecommerce names, as pydantic models.

The JSON Schemas under ``docs/schemas`` are generated from here. The hot path decodes with the msgspec structs of
:mod:`models.wire`, which the tests hold against these models.

References
----------
Segment, "Spec: Common fields" and "Spec: V2 Ecommerce Events".
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, model_validator

Reason = Literal[
    "failed",
    "timer_failed",
    "unreadable",
    "wrong_type",
    "unknown_type",
    "missing_user",
    "bad_timestamp",
    "far_future",
    "too_large",
    "misrouted",
    "webhook_failed",
]
REASONS: dict[Reason, str] = {
    "failed": "the decision core raised an error on it",
    "timer_failed": "the decision core raised an error when a user's timers fell due; they were taken out",
    "unreadable": "the value is not a JSON object in UTF-8",
    "wrong_type": "a known field cannot be used (a price that is no number, a track call without an event name, ...)",
    "unknown_type": "`type` is none of track, page, screen, identify, group, alias, tick",
    "missing_user": "neither userId nor anonymousId, or one of more than 200 characters",
    "bad_timestamp": "`timestamp` is neither ISO 8601 nor epoch milliseconds, or lies before 1970",
    "far_future": "event time more than the allowed minutes ahead of the broker's clock",
    "too_large": "the record is larger than 256 KiB",
    "misrouted": "forwarded once and still in a partition that is not the user's",
    "webhook_failed": "a webhook took the alert at none of its attempts",
}

# Segment's ecommerce specification v2. Any other name is legal too and can be used in campaigns.
ECOMMERCE_EVENTS: frozenset[str] = frozenset(
    """Products Searched|Product List Viewed|Product List Filtered|Promotion Viewed|Promotion Clicked|Product Clicked
Product Viewed|Product Added|Product Removed|Cart Viewed|Checkout Started|Checkout Step Viewed|Checkout Step Completed
Payment Info Entered|Order Updated|Order Completed|Order Refunded|Order Cancelled|Coupon Entered|Coupon Applied
Coupon Denied|Coupon Removed|Product Added to Wishlist|Product Removed from Wishlist|Wishlist Product Added to Cart
Product Shared|Cart Shared|Product Reviewed""".replace("\n", "|").split("|")
)
ALIASES: dict[str, str] = {  # names of the first version of the specification
    "Viewed Product Category": "Product List Viewed",
    "Viewed Product": "Product Viewed",
    "Clicked Product": "Product Clicked",
    "Added Product": "Product Added",
    "Removed Product": "Product Removed",
    "Completed Order": "Order Completed",
    "Started Order": "Checkout Started",
}
FEEDBACK_EVENTS: frozenset[str] = frozenset(
    """Email Delivered|Email Opened|Email Link Clicked|Email Bounced|Email Marked as Spam|Unsubscribed
Push Notification Received|Push Notification Tapped|Push Notification Bounced
Message Delivered|Message Failed|Message Unknown|Message Expired""".replace("\n", "|").split("|")
)

MAX_RECORD_BYTES = 256 * 1024
MAX_ID_LENGTH = 200

MAX_AMOUNT = 1e9  # of money in major units, or of pieces: beyond any order, and its square still fits counters
MAX_TIME_MS = 1 << 43  # in the year 2248


def _written_out(value: object) -> object:
    """A time is text or a datetime: pydantic alone would read any number as seconds or milliseconds by its size."""
    if isinstance(value, datetime) or (isinstance(value, str) and _CALENDAR.match(value)):
        return value
    raise ValueError("ISO 8601, such as 2010-01-05T10:00:00Z")


_CALENDAR = re.compile(r"\d{4}-\d\d-\d\d")
WholeId = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
Id = StrictStr | WholeId
UserId = Annotated[StrictStr, Field(max_length=MAX_ID_LENGTH)]
Number = Annotated[Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictInt, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
Timestamp = Annotated[
    Annotated[StrictInt, Field(ge=0, lt=MAX_TIME_MS)] | Annotated[datetime, BeforeValidator(_written_out)],
    Field(description="ISO 8601 (without a zone: UTC), or milliseconds since 1970-01-01 UTC"),
]


class Product(BaseModel):
    """One product, as part of an order or the properties of a product event."""

    model_config = ConfigDict(extra="allow")

    product_id: Id | None = None
    sku: Id | None = None
    name: str | None = None
    category: str | None = None
    brand: str | None = None
    variant: str | None = None
    price: Number | None = Field(None, description="one piece, in major units (12.50)")
    quantity: Number | None = None
    coupon: str | None = None
    position: int | None = None
    url: str | None = None
    image_url: str | None = None


class Properties(Product):
    """Known properties of track calls. Others are kept for conditions and otherwise ignored."""

    order_id: Id | None = None
    checkout_id: Id | None = None
    affiliation: str | None = None
    revenue: Number | None = None
    total: Number | None = None
    subtotal: Number | None = None
    shipping: Number | None = None
    tax: Number | None = None
    discount: Number | None = None
    currency: str | None = Field(None, description="ISO 4217")
    products: list[Product] | None = None
    message_id: str | None = Field(None, description="Kairos message that this feedback is about")
    campaign_id: str | None = None
    experiment_id: str | None = None
    variation_id: Id | None = None


class Envelope(BaseModel):
    """One event on `clickstream`, `purchases`, `profiles` or `feedback`."""

    model_config = ConfigDict(extra="allow")

    type: Literal["track", "page", "screen", "identify", "group", "alias", "tick"]
    userId: (
        Annotated[StrictStr, Field(max_length=MAX_ID_LENGTH)]
        | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
        | None
    ) = None
    anonymousId: Annotated[str, Field(max_length=MAX_ID_LENGTH)] | None = None
    messageId: Annotated[str, Field(max_length=MAX_ID_LENGTH)] | None = None
    timestamp: Timestamp | None = None
    originalTimestamp: Timestamp | None = None
    sentAt: Timestamp | None = None
    receivedAt: Timestamp | None = None
    event: str | None = Field(None, description="name of a track call, past tense")
    name: str | None = Field(None, description="name of a page or screen")
    category: str | None = None
    properties: Properties | None = None
    traits: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    integrations: dict[str, Any] | None = None
    groupId: str | None = None
    previousId: UserId | None = Field(None, description="of an alias: the id that is given up for `userId`")

    @model_validator(mode="after")
    def _has_user(self) -> Envelope:
        if self.type != "tick" and self.userId in (None, "") and not self.anonymousId:
            raise ValueError("userId or anonymousId is needed")
        if self.type == "track" and not self.event:
            raise ValueError("a track call needs `event`")
        return self
