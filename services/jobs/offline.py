"""What jobs that need the workers to be stopped have in common."""

from __future__ import annotations

from config.settings import Settings
from models.errors import KairosError
from services.bus import working_groups
from services.state.live import worker_figures
from services.state.redis_lane import Client, translated

GROUP_PREFIX = "kairos-"


class NotReadyError(KairosError):
    """Something must be stopped or finished first; nothing was changed."""


def refuse_workers(settings: Settings, client: Client) -> None:
    """Raise :class:`NotReadyError` while a worker belongs to a consumer group or tells about itself in Redis."""
    groups = working_groups(settings.kafka.bootstrap, GROUP_PREFIX)
    with translated():
        alive = worker_figures(client)
    found = [f"{count} in group {name}" for name, count in sorted(groups.items())]
    found += [f"{one['role']} {one['worker']}" for one in alive]
    if found:
        raise NotReadyError(
            f"workers run: {', '.join(found)}.\n  Stop decide, learn and deliver everywhere. One that was killed is "
            "forgotten after the session timeout, at most 15 seconds later."
        )
