"""Stored profiles of earlier versions, and what they must be read as. Ids are permanent.

`profiles_v1.json` was written by the code of version 1: customers of the Online Retail year as they lay in Redis, a
visitor of a made-up shop, and one profile (P013) in which every field says something. `profiles_v2.json` was written by
that of version 2: made-up customers, active and after 80 days of silence, and one profile in both forms (Q021, Q022) in
which every field says something. `holds` is what the version read that wrote it.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from models.profile.codec import decode_profile, encode_profile
from models.profile.state import VERSION, Profile, fields_of

V1: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "profiles_v1.json").read_text())
V2: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "profiles_v2.json").read_text())
NOT_COUNTED = 2


def crc(name: str) -> int:
    return zlib.crc32(name.encode())


def plain(profile: Profile) -> dict[str, Any]:
    """Fields as JSON has them."""

    def value(found: Any) -> Any:
        if isinstance(found, bytes):
            return found.hex()
        if hasattr(found, "__struct_fields__"):
            return [value(getattr(found, name)) for name in found.__struct_fields__]
        if isinstance(found, list | tuple):
            return [value(one) for one in found]
        return {key: value(one) for key, one in found.items()} if isinstance(found, dict) else found

    return {name: value(found) for name, found in fields_of(profile).items()}


def waits(holds: dict[str, Any]) -> list[list[Any]]:
    """Timers as they are read: those of offers, which hold something, came later."""
    return [[*timer, ""] for timer in holds["timers"]]


@pytest.mark.parametrize("ident", sorted(V1))
def test_a_profile_of_version_1_is_read_as_what_it_held(ident: str) -> None:
    holds = dict(V1[ident]["holds"])
    found = plain(decode_profile(bytes.fromhex(V1[ident]["packed"])))
    # What changed with version 2: whole numbers instead of fractions, codes instead of names.
    expected = holds | {
        "version": VERSION,
        "recent_e4": round(holds.pop("recent_purchases") * 10_000),
        "categories": {name: round(weight * 10_000) for name, weight in holds["categories"].items()},
        "score_e6": -1 if holds["score"] < 0 else round(holds["score"] * 1_000_000),
        "exposures": {
            crc(name): [crc(variant) % 65_536, at * 1000, NOT_COUNTED, {}, [], []]
            for name, (variant, at, _) in holds["exposures"].items()
        },
        "purchases": [],
        "settled": [],
        "given": {},
        "goal_samples": [],
        "timers": waits(holds),
    }
    del expected["score"]
    expected.pop("recent_purchases", None)
    assert found == expected
    assert list(found["bought"]) == list(holds["bought"])  # the order is recency


@pytest.mark.parametrize("ident", sorted(V2))
def test_a_profile_of_version_2_is_read_as_what_it_held(ident: str) -> None:
    """Users who were exposed keep their variant; what they brought was counted otherwise and counts no more."""
    holds = V2[ident]["holds"]
    found = plain(decode_profile(bytes.fromhex(V2[ident]["packed"])))
    exposures = {
        int(code): [variant, at * 1000, NOT_COUNTED, {}, [], []]
        for code, (variant, at, _) in holds["exposures"].items()
    }
    newer: dict[str, Any] = {"purchases": [], "settled": [], "given": {}, "goal_samples": []}
    newer["timers"] = waits(holds)
    assert found == holds | {"version": VERSION, "exposures": exposures} | newer
    assert list(found["bought"]) == list(holds["bought"])


@pytest.mark.parametrize("ident", sorted(V1 | V2))
def test_it_is_written_as_this_version_and_read_again(ident: str) -> None:
    before = bytes.fromhex((V1 | V2)[ident]["packed"])
    profile = decode_profile(before)
    packed = encode_profile(profile)
    again = decode_profile(packed)
    assert fields_of(again) == fields_of(profile)
    assert encode_profile(again) == packed
    assert len(packed) < len(before) + 16 * (1 + len(profile.exposures))
