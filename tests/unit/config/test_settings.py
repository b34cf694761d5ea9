"""The settings: documented as they are, read from the environment, and a typing error is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import Settings, UnknownSettingError, load_settings
from services.bootstrap import setting_faults
from services.jobs.settings_table import (
    COMPOSE_VARIABLES,
    ENV_EXAMPLE,
    PAGE,
    ROOT,
    env_example,
    settings_of,
    settings_page,
)

WRITE = "run `python -m services.jobs.settings_table`"
EVERY = {one.variable: one for one in settings_of()}


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), WRITE


def test_the_example_is_current() -> None:
    assert ENV_EXAMPLE.read_text(encoding="utf-8") == env_example(), WRITE


@pytest.mark.parametrize("variable", EVERY)
def test_each_says_what_it_means(variable: str) -> None:
    assert EVERY[variable].meaning
    assert f"| `{variable}` | " in PAGE.read_text(encoding="utf-8")


def test_every_leaf_of_the_model_is_in_the_table() -> None:
    """Counted another way: from a dump of the values."""
    leaves = set()
    for name, value in Settings().model_dump().items():
        nested = [f"{name}__{inner}" for inner in value] if isinstance(value, dict) else [name]
        leaves |= {f"KAIROS_{leaf}".upper() for leaf in nested}
    assert set(EVERY) == leaves
    assert "KAIROS_REDIS__URL" in leaves


@pytest.mark.parametrize("variable", [name for name, one in EVERY.items() if one.default])
def test_the_default_shown_is_the_default(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting it to what the table shows changes nothing."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(variable, EVERY[variable].default)
    found = load_settings()
    assert found.model_copy(update={"config_dir": found.config_dir.resolve()}) == Settings.model_construct()


def test_the_example_holds_what_compose_takes_with_the_same_defaults() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    taken = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
    assert set(taken) == set(COMPOSE_VARIABLES)
    example = dict(re.findall(r"^(\w+)=(.*)$", ENV_EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert example == taken


# ------------------------------------------------------------------ reading them


def test_nested_names_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIROS_REDIS__URL", "redis://elsewhere:6379/1")
    monkeypatch.setenv("KAIROS_LANES", "12")
    found = load_settings()
    assert (found.redis.url.get_secret_value(), found.lanes) == ("redis://elsewhere:6379/1", 12)
    assert "elsewhere" not in repr(found), "an address may hold a password"
    monkeypatch.setenv("KAIROS_LANES", "0")
    with pytest.raises(ValidationError):
        load_settings()


@pytest.mark.parametrize("variable", ["KAIROS_LANE", "KAIROS_REDDIS__URL", "KAIROS_REDIS_URL"])
def test_an_unknown_name_is_refused(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UnknownSettingError, match=variable):
        load_settings()


def test_an_unknown_name_in_a_section_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIROS_SMTP__PROT", "25")
    with pytest.raises(ValidationError, match=r"smtp\.prot"):
        load_settings()


@pytest.mark.parametrize("command", [("streams", "decide"), ("services.dashboard",)])
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("KAIROS_LANES", "many", "KAIROS_LANES: Input should be a valid integer"),
        ("KAIROS_HTTP__PRT", "80", "KAIROS_HTTP__PRT: Extra inputs are not permitted"),
        ("KAIROS_LOG_LEVEL", "LOUD", "KAIROS_LOG_LEVEL: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("KAIROS_LANE", "4", "KAIROS_LANE is not a setting of Kairos"),
        ("KAIROS_CONFIG_DIR", "/nowhere", "there is no such folder"),
    ],
)
def test_a_mistake_ends_a_process_with_a_sentence(
    command: tuple[str, ...], variable: str, value: str, message: str
) -> None:
    env = {**os.environ, variable: value}
    done = subprocess.run([sys.executable, "-m", *command], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_value_that_does_not_fit_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIROS_REDIS__TIMEOUT_MS", "a-password-in-the-wrong-place")
    with pytest.raises(ValidationError) as caught:
        load_settings()
    (fault,) = setting_faults(caught.value)
    assert fault.startswith("KAIROS_REDIS__TIMEOUT_MS: ")
    assert "password" not in fault


def test_the_environment_is_read_in_one_place() -> None:
    """STYLE: settings are passed as values. Entry points, and what starts processes, are the exceptions."""
    allowed = {"config/settings.py", "services/bootstrap.py", "services/cli/run.py"}
    found = {
        str(path.relative_to(ROOT))
        for package in ("config", "models", "services", "streams")
        for path in Path(ROOT, package).rglob("*.py")
        if re.search(r"os\.(environ|getenv)", path.read_text(encoding="utf-8")) and "embedded" not in path.parts
    }
    assert found <= allowed, found - allowed
