"""Where the real services of a test run come from, and what happens when one is missing."""

import os
from typing import NoReturn

import pytest

REQUIRE_SERVICES = "KAIROS_REQUIRE_SERVICES"
KAFKA_JARS = "KAIROS_TEST_KAFKA_JARS"
TEST_REDIS = "KAIROS_TEST_REDIS"


class MissingServiceError(RuntimeError):
    """A real service that a test needs is not on this machine; the message says how to provide it."""


def services_required() -> bool:
    """Tell whether a missing service fails the test (as in CI) instead of skipping it."""
    return os.environ.get(REQUIRE_SERVICES, "") not in {"", "0"}


def skip_or_fail(error: MissingServiceError) -> NoReturn:
    """Fail the test where services are required; skip it with the reason elsewhere."""
    if services_required():
        pytest.fail(f"{REQUIRE_SERVICES} is set: {error}", pytrace=False)
    pytest.skip(str(error))
