"""All settings of Kairos, read once at an entry point and passed on as values.

Every field can be set by an environment variable: prefix ``KAIROS_``, nested names joined by ``__``
(``KAIROS_REDIS__URL``). Unknown variables with the prefix are refused by :func:`load_settings`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.webhook import read_secrets

PACKAGE_CONFIG_DIR = Path(__file__).resolve().parent


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Section):
    """Where the log is and how Kairos joins it."""

    bootstrap: str = Field(default="127.0.0.1:9092", description="host:port of the Kafka brokers, comma separated")
    replication: int = Field(default=1, ge=1, description="replicas of each topic that Kairos creates")
    session_timeout_ms: int = Field(
        default=10_000, ge=1_000, description="a worker silent for this long loses its lanes"
    )
    request_timeout_ms: int = Field(default=30_000, ge=1_000, description="time limit of one request to the brokers")


class RedisSettings(_Section):
    """Where the state is."""

    url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="redis:// or rediss:// address; redis+cluster://host:port,host:port of a Redis Cluster",
    )
    timeout_ms: int = Field(default=10_000, ge=100, description="time limit of one round trip")


class SmtpSettings(_Section):
    """The mail server that the e-mail channel hands messages to."""

    host: str = Field(default="127.0.0.1", description="mail server")
    port: int = Field(default=1025, ge=1, le=65535, description="its port")
    username: str | None = Field(default=None, description="user name, if the server wants one")
    password: SecretStr | None = Field(default=None, description="password, if the server wants one")
    starttls: bool = Field(default=False, description="upgrade the connection with STARTTLS")
    timeout_ms: int = Field(default=10_000, ge=100, description="time limit of one hand-over")
    connections: int = Field(default=4, ge=1, description="mails handed over at the same time")
    sender: str = Field(default="Kairos <hello@kairos.test>", description="From header")


class PushSettings(_Section):
    """Web Push (VAPID)."""

    vapid_private_key: SecretStr | None = Field(default=None, description="VAPID key, base64url; none: push is off")
    vapid_subject: str = Field(default="mailto:ops@kairos.test", description="VAPID sub claim")


class HttpSettings(_Section):
    """The page and the HTTP API."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=1, le=65535, description="port to listen on")
    public_url: str = Field(default="http://127.0.0.1:8080", description="address that links in messages point to")


class Settings(BaseSettings):
    """Everything an operator can set. Frozen; unknown names are errors."""

    model_config = SettingsConfigDict(env_prefix="KAIROS_", env_nested_delimiter="__", extra="forbid", frozen=True)

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    smtp: SmtpSettings = SmtpSettings()
    push: PushSettings = PushSettings()
    http: HttpSettings = HttpSettings()

    lanes: int = Field(
        default=4, ge=1, le=4096, description="partitions of every topic keyed by user; fixed at creation"
    )
    config_dir: Path = Field(
        default=PACKAGE_CONFIG_DIR, description="folder with campaigns/ offers/ experiments/ templates/"
    )
    secret_key: SecretStr = Field(
        default=SecretStr("change-me"), description="signs links in messages (unsubscribe, clicks)"
    )

    webhook_secrets: SecretStr | None = Field(
        default=None,
        description="what webhooks are signed with: `crm=whsec_...`, several with spaces between; "
        "two of one webhook while its secret is changed",
    )

    chunk_max: int = Field(default=1000, ge=1, le=10_000, description="records in one fetched chunk of a partition")
    batch_max: int = Field(
        default=4000,
        ge=1,
        le=20_000,
        description="chunks that wait together are applied in one transaction of at most so many records",
    )
    chunks_in_flight: int = Field(
        default=4, ge=1, description="chunks of a partition fetched ahead of the committed one"
    )
    fetch_max_wait_ms: int = Field(default=10, ge=1, description="the broker gathers records for this long")
    fetch_min_bytes: int = Field(default=65_536, ge=1, description="it answers sooner when it has this much")

    ticker: bool = Field(
        default=True, description="write a tick into every input partition each second (off in a replay)"
    )
    future_limit_ms: int = Field(
        default=300_000, ge=0, description="events later than broker time plus this are refused"
    )
    strict_order: bool = Field(
        default=False,
        description="apply the inputs in the order of event time, for replays; an event may wait for the next tick",
    )
    watermark_delay_ms: int = Field(default=0, ge=0, description="how far the watermark stays behind the newest event")
    snapshot_poll_ms: int = Field(default=1_000, ge=50, description="how often decide looks for new models")
    snapshot_every_ms: int = Field(
        default=2_000, ge=100, description="learn publishes a changed model at most this often"
    )
    judge_every_ms: int = Field(
        default=1_000,
        ge=50,
        description="how often the judge looks at the experiments (less often where a look takes long)",
    )
    ledger_ttl_s: int = Field(default=30 * 86_400, ge=60, description="how long the send ledger remembers a message")
    reload_s: float = Field(
        default=2.0, ge=0, description="how often changed files of the config folder are looked for; 0: on SIGHUP only"
    )
    health_port: int | None = Field(
        default=None, ge=0, le=65535, description="a worker answers /livez and /readyz there; none: off, 0: a free one"
    )
    health_host: str = Field(default="127.0.0.1", description="address to answer on")
    watchdog_s: float = Field(
        default=60.0, gt=0, description="a worker without progress while it lags ends after this long"
    )
    dead_letter_share: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="a worker stops when the core fails on more than this share of the records",
    )
    dead_letter_window: int = Field(default=10_000, ge=100, description="that share is counted over the last so many")
    dead_letter_users: int = Field(default=20, ge=1, description="and only when so many users are hit")
    dead_letter_limit: int = Field(
        default=1_000, ge=1, description="a worker stops after so many refused records of many users in a row"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR"
    )

    @field_validator("webhook_secrets")
    @classmethod
    def _are_secrets(cls, text: SecretStr | None) -> SecretStr | None:
        read_secrets(text.get_secret_value() if text else "")
        return text


class UnknownSettingError(ValueError):
    """An environment variable with the prefix ``KAIROS_`` that no setting has."""


# Read by the tests and the demo, not settings of the service.
_NOT_SETTINGS = {"KAIROS_REQUIRE_SERVICES", "KAIROS_TEST_KAFKA_JARS", "KAIROS_TEST_REDIS"}


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises
    ------
    UnknownSettingError
        A variable ``KAIROS_...`` names no setting (a typing error would otherwise go unseen).
    pydantic.ValidationError
        A value does not fit.
    """
    known = {f"KAIROS_{name}".upper() for name in Settings.model_fields}
    for variable in os.environ:
        if not variable.startswith("KAIROS_") or variable in _NOT_SETTINGS:
            continue
        if variable.upper().split("__", 1)[0] not in known:
            close = ", ".join(sorted(known))
            raise UnknownSettingError(f"{variable} is not a setting of Kairos. Known: {close}")
    return Settings()
