"""A running experiment keeps its definition: on a real Redis, for workers that run and for those that start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from config.experiment import Experiment
from config.loader import DefinitionError, load_definitions
from config.settings import PACKAGE_CONFIG_DIR
from services.state import keys
from services.state.frozen import hold_frozen
from support.any_redis import AnyRedis
from support.ports import LOOPBACK, free_port

SUBJECT = """id: subject
variants:
  - {id: a, weight: 0.5}
  - {id: b, weight: 0.5}
expose_on: message
metrics: [{id: clicked, event: Email Link Clicked, within: 7d}]
"""
OTHER_WEIGHTS = SUBJECT.replace("a, weight: 0.5", "a, weight: 0.4").replace("b, weight: 0.5", "b, weight: 0.6")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "experiments").mkdir()
    return tmp_path


def read(folder: Path, text: str) -> tuple[Experiment, ...]:
    (folder / "experiments" / "subject.yaml").write_text(text)
    return load_definitions(folder).experiments


def test_what_runs_does_not_change(client: redis.Redis, folder: Path) -> None:
    hold_frozen(client, read(folder, SUBJECT), folder)
    hold_frozen(client, read(folder, SUBJECT), folder)
    with pytest.raises(DefinitionError) as refused:
        hold_frozen(client, read(folder, OTHER_WEIGHTS), folder)
    error = refused.value
    assert (error.path, error.line, error.code) == (folder / "experiments" / "subject.yaml", 2, "changed_running")
    assert "variants cannot change" in error.message
    assert "version: 2" in error.remedy


@pytest.mark.parametrize(
    "text",
    [
        SUBJECT + "description: In other words\n",
        SUBJECT + "enabled: false\n",
        SUBJECT + "end: 2030-01-01\n",
        SUBJECT + "testers: {anna: b}\n",
        OTHER_WEIGHTS + "version: 2\n",
        SUBJECT + "coverage: 1.0\n",  # what is the default anyway
    ],
)
def test_what_changes_nothing_that_is_counted_may_change(client: redis.Redis, folder: Path, text: str) -> None:
    hold_frozen(client, read(folder, SUBJECT), folder)
    hold_frozen(client, read(folder, text), folder)


def test_a_draft_may_change(client: redis.Redis, folder: Path) -> None:
    hold_frozen(client, read(folder, SUBJECT + "enabled: false\n"), folder)
    hold_frozen(client, read(folder, OTHER_WEIGHTS), folder)
    with pytest.raises(DefinitionError, match="subject"):
        hold_frozen(client, read(folder, SUBJECT + "enabled: false\n"), folder)


def test_a_refused_folder_freezes_nothing(client: redis.Redis, folder: Path) -> None:
    hold_frozen(client, read(folder, SUBJECT), folder)
    (folder / "experiments" / "another.yaml").write_text(SUBJECT.replace("id: subject", "id: another"))
    with pytest.raises(DefinitionError):
        hold_frozen(client, read(folder, OTHER_WEIGHTS), folder)
    assert client.hkeys(keys.FROZEN) == [b"subject"]


@pytest.mark.parametrize("role", ["decide", "judge"])
def test_a_worker_with_a_changed_file_does_not_start(
    client: redis.Redis, redis_server: AnyRedis, tmp_path: Path, role: str
) -> None:
    folder = tmp_path / "config"
    shutil.copytree(PACKAGE_CONFIG_DIR, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    hold_frozen(client, load_definitions(folder).experiments, folder)
    file = folder / "experiments" / "aa-check.yaml"
    file.write_text(file.read_text().replace("refund_window: 30d", "refund_window: 31d"))
    env = {
        **os.environ,
        "KAIROS_KAFKA__BOOTSTRAP": f"{LOOPBACK}:{free_port()}",
        "KAIROS_REDIS__URL": redis_server.url,
        "KAIROS_CONFIG_DIR": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-m", "streams", role], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert f"{file}:" in done.stderr
    assert "refund_window cannot change" in done.stderr
