"""The one tree of errors. Adapters translate the exceptions of libraries into these where they meet them."""

from __future__ import annotations


class KairosError(Exception):
    """Root of all errors of Kairos."""


class InvalidEventError(KairosError):
    """A record that can never be applied (poison). It goes to `dead-letters`.

    Parameters
    ----------
    reason : stable reason code, see :data:`models.events.REASONS`.
    detail : what was wrong, for a person.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class TransientError(KairosError):
    """It may work later: a dependency is slow, away or restarting."""


class PermanentError(KairosError):
    """It will not work when tried again."""


class DeadLetterLimitError(PermanentError):
    """The core fails on too many records: a bad deploy. The worker ends before it drains its topics."""


class FenceError(TransientError):
    """The lane's position in Redis is not where this worker believed it to be: reload and go on from there."""


class IncompatibleSnapshotError(PermanentError):
    """Stored state or a stored model of a version that this code cannot read."""


class ConfigurationError(KairosError):
    """A setting or a YAML file is wrong. `where` is `file:line`; `remedy` says what to write instead."""

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        text = f"{where}: {message}" if where else message
        super().__init__(f"{text}\n  {remedy}" if remedy else text)
        self.message, self.where, self.remedy = message, where, remedy
