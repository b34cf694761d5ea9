"""Experiments that run keep their definition: what decides who gets what, and what is counted, is written down once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import redis

from config.experiment import Experiment
from config.loader import DefinitionError, place_of
from services.state import keys
from services.state.redis_lane import translated


def hold_frozen(client: redis.Redis, experiments: Sequence[Experiment], config_dir: Path) -> None:
    """Freeze each enabled experiment that is new, and see that those known before have not changed.

    The first worker that takes a version of an experiment writes down its definition; all others, now and later, are
    held to it. So no two workers ever count the same version by different rules. An experiment that was only ever
    `enabled: false` is a draft and may change.

    Parameters
    ----------
    config_dir : folder of the definitions, for the place of the mistake.

    Raises
    ------
    DefinitionError
        An experiment is not what it was under this version; `changed_running` is the code.
    TransientError
        Redis is away.
    """
    known = _known(client)
    _refuse_changed(known, experiments, config_dir)
    new = [one for one in experiments if one.enabled and one.key not in known]
    if not new:
        return
    with translated():
        for one in new:
            client.hsetnx(keys.FROZEN, one.key, msgspec.json.encode(one.frozen()))
    # Again: another worker may have been quicker, with another file.
    _refuse_changed(_known(client), experiments, config_dir)


def _known(client: redis.Redis) -> dict[str, dict[str, Any]]:
    with translated():
        found = cast(dict[bytes, bytes], client.hgetall(keys.FROZEN))
    return {key.decode(): msgspec.json.decode(frozen) for key, frozen in found.items()}


def _refuse_changed(known: Mapping[str, dict[str, Any]], experiments: Sequence[Experiment], config_dir: Path) -> None:
    mistakes = []
    for one in experiments:
        changed = one.changed(known[one.key]) if one.key in known else ()
        if changed:
            path, line = place_of(config_dir, one.id, changed[0])
            message = f"the experiment {one.id!r} runs; {', '.join(changed)} cannot change any more"
            remedy = f"what stood there before, or version: {one.version + 1} (counting begins anew)"
            mistakes.append(DefinitionError(path, line, message, remedy, code="changed_running"))
    if mistakes:
        raise DefinitionError.of(mistakes)
