"""What differs in profiles as version 2 stored them: read during an upgrade, never written.

Exposures lay in the section of messages and were counted in other counters, without their day. Whoever was exposed then
keeps the variant and is counted no more: results go on with those who are exposed from now on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from models.profile.state import VERSION as NOW
from models.profile.state import Contact, Profile, Trials
from models.profile.state import Exposure as ExposureNow

VERSION = 2
UNCOUNTED = 2


class Exposure(msgspec.Struct, array_like=True, gc=False):
    """First exposure, in seconds."""

    variant: int
    at: int
    values: dict[int, int] = {}


class _Contact(msgspec.Struct, array_like=True, gc=False):
    sends: list[Any] = []
    channels: dict[str, list[int]] = {}
    exposures: dict[int, Exposure] = {}


_contact = msgspec.msgpack.Decoder(_Contact).decode


def trials_at_rest(exposures: dict[int, Any]) -> Trials:
    """Section of experiments of a profile of version 2 at rest, whose exposures were read as plain lists."""
    return trials_of(msgspec.convert(exposures, dict[int, Exposure]))


def trials_of(exposures: dict[int, Exposure]) -> Trials:
    """Today's section of experiments."""
    return Trials({code: ExposureNow(found.variant, found.at * 1000, UNCOUNTED) for code, found in exposures.items()})


def upgraded(profile: Profile) -> Profile:
    """A profile of version 2 that was decoded as one of today: everything but its exposures lies where it lay."""
    assert isinstance(profile.contact, bytes)
    if profile.contact:
        exposures = _contact(profile.contact).exposures
        if exposures:
            profile.trials = trials_of(exposures)
            contact: Contact = profile.open_contact()  # leaves out what this version does not have
            assert contact is not None
    profile.version = NOW
    return profile
