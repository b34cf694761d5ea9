"""A watched folder: good changes are taken when they are complete, bad ones are told and left."""

from pathlib import Path

import pytest

from config.loader import DefinitionError
from services.channels.templates import TemplateFailedError, checked_environment, environment_of
from services.watched import WatchedFolder


def load(folder: Path) -> str:
    text = (folder / "a.yaml").read_text()
    if "bad" in text:
        raise DefinitionError(folder / "a.yaml", 1, "it is bad", "something good")
    return text


@pytest.fixture
def watched(tmp_path: Path) -> WatchedFolder[str]:
    (tmp_path / "a.yaml").write_text("one")
    return WatchedFolder(tmp_path, load, (DefinitionError,), (".yaml",))


def test_a_change_is_taken_when_two_looks_saw_the_same(watched: WatchedFolder[str], tmp_path: Path) -> None:
    assert not watched.look()
    (tmp_path / "a.yaml").write_text("tw")
    assert not watched.look()
    (tmp_path / "a.yaml").write_text("two")
    assert not watched.look()
    assert watched.value == "one"
    assert watched.look()
    assert (watched.value, watched.look()) == ("two", False)


def test_whoever_sends_a_signal_is_believed_at_once(watched: WatchedFolder[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("two")
    assert watched.look(at_once=True)


def test_a_bad_file_leaves_the_old_value_and_says_so(watched: WatchedFolder[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("bad")
    assert not watched.look(at_once=True)
    assert watched.value == "one"
    assert "it is bad" in watched.error
    (tmp_path / "a.yaml").write_text("three")
    assert watched.look(at_once=True)
    assert (watched.value, watched.error) == ("three", "")


def test_other_files_are_not_looked_at(watched: WatchedFolder[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert not watched.look(at_once=True)


def test_a_bad_template_is_told_with_file_and_line_and_leaves_all_old_ones(tmp_path: Path) -> None:
    (tmp_path / "hello").mkdir()
    body = tmp_path / "hello" / "body.txt"
    body.write_text("Hello {{ name }}")
    watched = WatchedFolder(tmp_path, checked_environment, (TemplateFailedError,), first=environment_of)
    body.write_text("Dear\n{{ name }")
    assert not watched.look(at_once=True)
    assert f"{body}:2" in watched.error
    assert watched.value.get_template("hello/body.txt").render(name="Ada") == "Hello Ada"
    body.write_text("Dear {{ name }}")
    assert watched.look(at_once=True)
    assert watched.value.get_template("hello/body.txt").render(name="Ada") == "Dear Ada"
