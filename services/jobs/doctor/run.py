"""All examinations, in the order in which things depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from config.settings import Settings
from models.errors import KairosError
from services.jobs.doctor.broker import broker_findings
from services.jobs.doctor.finding import Finding, bad
from services.jobs.doctor.mail import mail_findings
from services.jobs.doctor.state import redis_findings, settings_findings
from services.jobs.doctor.work import work_findings
from services.state.redis_lane import Client, connect

Examination = Callable[[Settings, Client, int], Iterator[Finding]]


def examine(settings: Settings, now_ms: int) -> list[Finding]:
    """Look at everything; changes nothing, and never raises: what cannot be looked at is a finding.

    Parameters
    ----------
    settings : where everything is. now_ms : clock of this machine.
    """
    # The doctor does not wait as long as a worker would.
    client = connect(settings.redis.url.get_secret_value(), min(settings.redis.timeout_ms, 3_000))
    found: list[Finding] = []
    try:
        parts: tuple[tuple[str, Examination], ...] = (
            ("settings", settings_findings),
            ("broker", broker_findings),
            ("redis", redis_findings),
            ("workers", work_findings),
            ("mail", mail_findings),
        )
        for name, part in parts:
            try:
                found += part(settings, client, now_ms)
            except KairosError as error:
                found.append(bad(name, f"could not be looked at: {error}", "see the first finding that is not well"))
    finally:
        client.close()
    return found
