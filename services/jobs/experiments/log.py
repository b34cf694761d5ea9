"""The recorded log of an experiment as rows: variant, propensity, reward, and what was known at the exposure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa

from config.experiment import Experiment
from models.decisions import Exposure
from models.errors import ConfigurationError
from models.experiments.fields import DAY_MS
from models.experiments.tally import last_day
from models.experiments.trial import UNCOUNTED, Meter, Trial
from models.profile.codec import decode_profile
from models.profile.moved import MovedError
from models.wire import lane_of
from services.bootstrap import settings_for
from services.bus.reader import read_topic
from services.jobs.experiments.running import known_experiment
from services.state import keys
from services.state.lanes import read_watermarks
from services.state.redis_lane import Client, connect, translated


def recorded(name: str, data_dir: Path, metric: str = "") -> pa.Table:
    """Rows of an experiment that runs or has run: `action`, `propensity`, `reward`; as context `hour` and `weekday`.

    One row per user whose window has closed. Exposures are those of the topic; what the user brought since lies in the
    profile. Users who were merged into others are left out.

    Raises
    ------
    ConfigurationError
        There is no such experiment or metric, or the metric is a ratio.
    """
    settings = settings_for(data_dir)
    experiment = known_experiment(settings, name)
    rewarded = next((one for one in experiment.metrics if one.id == metric), None) if metric else experiment.rewarded
    if rewarded is None or rewarded.kind == "ratio":
        known = ", ".join(one.id for one in experiment.metrics if one.kind != "ratio")
        raise ConfigurationError(f"{name} has no metric {metric!r} that is a reward per user", remedy=f"one of {known}")
    with closing(connect(settings.redis.url.get_secret_value(), settings.redis.timeout_ms)) as client:
        watermark = min(read_watermarks(client, settings.lanes).values(), default=0)
        until = last_day(experiment, rewarded, watermark)
        meter = next(one for one in Trial(experiment).meters if one.id == rewarded.id)
        rows = []
        for seen in _exposures(settings.kafka.bootstrap, experiment):
            if seen.at // DAY_MS <= until and seen.propensity is not None:
                reward = _reward(client, settings.lanes, experiment, meter, seen)
                if reward is not None:
                    at = datetime.fromtimestamp(seen.at / 1000, UTC)
                    rows.append((seen.variant, seen.propensity, reward / rewarded.scale, at.hour, f"{at:%A}"))
    names = ("action", "propensity", "reward", "hour", "weekday")
    return pa.table({column: [row[place] for row in rows] for place, column in enumerate(names)})


def _exposures(bootstrap: str, experiment: Experiment) -> Iterator[Exposure]:
    """Each exposure once, of whichever version."""
    found: dict[str, Exposure] = {}
    for record in read_topic(bootstrap, Exposure.topic):
        seen = msgspec.json.decode(record.value or b"", type=Exposure)
        if seen.experiment == experiment.id:
            found[seen.id] = seen
    return iter(found.values())


def _reward(client: Client, lanes: int, experiment: Experiment, meter: Meter, seen: Exposure) -> int | None:
    """What the user brought, in counted units; None: this exposure is not counted, or not by this version."""
    with translated():
        packed = cast(Any, client.get(keys.profile(lane_of(seen.user, lanes), seen.user)))
    if packed is None:
        return None
    try:
        exposure = decode_profile(packed).exposures.get(experiment.code)
    except MovedError:
        return None
    if exposure is None or exposure.at != seen.at or exposure.flags & UNCOUNTED:
        return None
    return meter.values(exposure.values)[0]
