"""Groups users by their attributes: k-means over what `identify` told, k by the silhouette. A batch job.

The attributes are read once from the profiles, a fair sample of the users where there are many; nothing is written but
the snapshot, which decide takes between two batches like those of the learners.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import xxhash
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from models.errors import ConfigurationError
from models.learners.envelope import Envelope
from models.learners.portraits import (
    NAME,
    SCHEMA,
    FloatArray,
    Portraits,
    PortraitsPayload,
    columns_of,
    names_of,
    row_of,
    width_of,
)
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from services.state.profiles import each_profile
from services.state.redis_lane import Client
from services.state.snapshots import publish_snapshot

MOST_USERS: Final = 50_000
LEAST_USERS: Final = 50
SILHOUETTE_SAMPLE: Final = 4_000

Progress = Callable[[str, int, int], None]
Users = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Grouped:
    """What the job found: the payload, the silhouette of each k that was tried, and what the pictures need."""

    payload: PortraitsPayload
    tried: dict[int, float]
    rows: FloatArray
    labels: FloatArray
    told: int


def read_attributes(client: Client, lanes: int, progress: Progress) -> list[dict[str, Any]]:
    """Attributes of users; of more than `MOST_USERS` those with the lowest hashes."""
    kept: list[tuple[int, int, dict[str, Any]]] = []
    for lane in range(lanes):
        progress("read profiles", lane, lanes)
        for user, packed in each_profile(client, lane):
            code = -xxhash.xxh3_64_intdigest(user.encode())
            if len(kept) >= MOST_USERS and code < kept[0][0]:
                continue
            try:
                attributes = dict(decode_profile(packed).attributes)
            except MovedError:
                continue
            entry = (code, lane, attributes)
            if len(kept) < MOST_USERS:
                heapq.heappush(kept, entry)
            else:
                heapq.heapreplace(kept, entry)
    progress("read profiles", lanes, lanes)
    return [attributes for _, _, attributes in sorted(kept, key=lambda one: one[0])]


def group(users: Users, progress: Progress, *, attributes: Sequence[str] = (), k: int = 0, most: int = 8) -> Grouped:
    """Group users by attributes.

    Parameters
    ----------
    attributes : those that count; none: all that group users. k : how many groups; 0: the silhouette chooses.

    Raises
    ------
    ConfigurationError
        Too few users told anything that groups them.
    """
    columns = columns_of(users, attributes)
    missing = sorted(set(attributes) - {column.attribute for column in columns})
    if missing:
        raise ConfigurationError(
            f"no group can be made by {', '.join(missing)}: hardly anybody told it, or all told the same",
            remedy="other names in --attributes: kairos story USER shows what a user told",
        )
    known = [user for user in users if any(column.attribute in user for column in columns)]
    rows = np.array([row_of(columns, user) for user in known]).reshape(len(known), width_of(columns))
    different = len(np.unique(rows, axis=0)) if len(rows) else 0
    if len(known) < LEAST_USERS or different < 3:
        raise ConfigurationError(
            f"{len(known)} of {len(users)} users told an attribute that groups them, {different} kinds in all",
            remedy=f"send traits with identify; at least {LEAST_USERS} users must have told some",
        )
    tries = [k] if k else list(range(2, min(most, different - 1, len(known) - 1) + 1))
    sample = np.random.default_rng(0).permutation(len(rows))[:SILHOUETTE_SAMPLE]
    tried: dict[int, float] = {}
    best: KMeans | None = None
    for done, number in enumerate(tries):
        progress(f"{number} groups", done, len(tries))
        if number >= different:
            raise ConfigurationError(f"--k {number}: users are of {different} kinds only", remedy="a smaller --k")
        fitted = KMeans(number, n_init=10, random_state=0).fit(rows)
        chosen = fitted.labels_[sample]
        tried[number] = float(silhouette_score(rows[sample], chosen)) if 1 < len(set(chosen)) < len(sample) else -1.0
        if best is None or tried[number] > tried[best.n_clusters]:
            best = fitted
    progress("done", len(tries), len(tries))
    assert best is not None
    shares = np.bincount(best.labels_, minlength=best.n_clusters) / len(rows)
    payload = PortraitsPayload(
        columns=columns,
        names=names_of(columns, best.cluster_centers_, rows),
        centres=best.cluster_centers_.tolist(),
        shares=shares.tolist(),
        users=len(rows),
        silhouette=round(tried[best.n_clusters], 4),
    )
    return Grouped(payload, tried, rows, best.labels_, len(known))


def publish(client: Client, grouped: Grouped, created_ms: int) -> Envelope:
    """Make it a snapshot that decide takes."""
    return publish_snapshot(client, NAME, lambda number: envelope_of(grouped.payload, number, created_ms))


def envelope_of(payload: PortraitsPayload, number: int, created_ms: int) -> Envelope:
    """Version `number`, as it is stored."""
    envelope = Envelope(
        name=NAME,
        schema=SCHEMA,
        library=f"scikit-learn {version('scikit-learn')}, numpy {np.__version__}",
        version=number,
        created_ms=created_ms,
        meta={
            "learned": True,
            "examples": payload.users,
            "silhouette": payload.silhouette,
            "portraits": dict(zip(payload.names, [round(share, 4) for share in payload.shares], strict=True)),
        },
        payload=msgspec.msgpack.encode(payload),
    )
    Portraits.from_envelope(envelope)
    return envelope


def write(grouped: Grouped, folder: Path) -> list[Path]:
    """Write `portraits.json` and, where Matplotlib is installed, a picture; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "portraits.json"
    document = {
        "portraits": dict(zip(grouped.payload.names, grouped.payload.shares, strict=True)),
        "attributes": [column.attribute for column in grouped.payload.columns],
        "users": grouped.payload.users,
        "silhouette_by_k": {str(k): round(value, 4) for k, value in grouped.tried.items()},
    }
    report.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    picture = _picture(grouped, folder / "portraits.png")
    return [report] if picture is None else [report, picture]


def _picture(grouped: Grouped, path: Path) -> Path | None:
    """Users on the two directions in which they differ most, and the silhouette of each k."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - not in production: an extra
    except ImportError:
        return None
    centred = grouped.rows - grouped.rows.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ directions[:2].T
    if flat.shape[1] < 2:
        flat = np.column_stack([flat, np.zeros(len(flat))])
    noise = np.random.default_rng(0).normal(0.0, 0.05, flat.shape)  # users of one kind lie on one point
    figure = Figure(figsize=(10.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for label, name in enumerate(grouped.payload.names):
        of = grouped.labels == label
        left.scatter(*(flat + noise)[of].T, s=6, alpha=0.5, label=f"{name} ({grouped.payload.shares[label]:.0%})")
    left.set(title="Users by their attributes", xlabel="first principal direction", ylabel="second")
    left.legend(loc="best", fontsize=7)
    right.plot(list(grouped.tried), list(grouped.tried.values()), marker="o")
    right.set(title="Silhouette", xlabel="groups", ylabel="silhouette")
    figure.savefig(path, dpi=120)
    return path
