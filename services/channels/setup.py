"""From settings to a courier with all its channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from config.settings import Settings
from services.channels.base import ChannelConfig
from services.channels.courier import Courier
from services.channels.registry import open_channels
from services.channels.templates import Templates
from services.channels.tokens import Tokens
from services.state.ledger import Ledger


def channel_config(settings: Settings, clock_ms: Callable[[], int], *, log_file: Path | None = None) -> ChannelConfig:
    """Take the part of the settings that channels need, as plain values."""
    smtp, push = settings.smtp, settings.push
    return ChannelConfig(
        clock_ms=clock_ms,
        smtp_host=smtp.host,
        smtp_port=smtp.port,
        smtp_username=smtp.username,
        smtp_password=smtp.password.get_secret_value() if smtp.password else None,
        smtp_starttls=smtp.starttls,
        smtp_timeout_s=smtp.timeout_ms / 1000,
        smtp_connections=smtp.connections,
        sender=smtp.sender,
        vapid_private_key=push.vapid_private_key.get_secret_value() if push.vapid_private_key else None,
        vapid_subject=push.vapid_subject,
        public_url=settings.http.public_url,
        log_file=log_file,
    )


def open_ledger(settings: Settings) -> Ledger:
    """Open the send ledger that the settings name."""
    return Ledger(
        settings.redis.url.get_secret_value(),
        timeout_ms=settings.redis.timeout_ms,
        ttl_ms=settings.ledger_ttl_s * 1000,
    )


def open_courier(
    settings: Settings, clock_ms: Callable[[], int], rng: Random, *, log_file: Path | None = None
) -> Courier:
    """Make a courier with every channel that is set up, in the event loop that will use it."""
    templates = Templates(
        settings.config_dir / "templates",
        Tokens(settings.secret_key.get_secret_value()),
        settings.http.public_url,
    )
    channels = open_channels(channel_config(settings, clock_ms, log_file=log_file))
    return Courier(channels, templates, open_ledger(settings), clock_ms, rng=rng)
