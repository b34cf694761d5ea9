"""Webhooks that somebody declares: mistakes are told, and they are no part of what decisions go by."""

from pathlib import Path

import pytest

from config.loader import DefinitionError, load_definitions, load_webhooks


def write(folder: Path, name: str, text: str) -> None:
    path = folder / "webhooks" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_they_load_and_change_no_version(tmp_path: Path) -> None:
    before = load_definitions(tmp_path).version()
    assert load_webhooks(tmp_path) == ()
    write(tmp_path, "b", "id: ops\nurl: http://127.0.0.1:9/x\nenabled: false\n")
    write(tmp_path, "a", "id: crm\nurl: https://crm.example/alerts\nkinds: [churn-alert]\n")
    assert [(one.id, one.enabled) for one in load_webhooks(tmp_path)] == [("crm", True), ("ops", False)]
    assert load_definitions(tmp_path).version() == before


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("id: crm\n", 1, "`url` is missing"),
        ("id: crm\nurl: ftp://crm.example\n", 2, "no http or https address"),
        ("id: crm\nurl: file:///etc/passwd\n", 2, "no http or https address"),
        ("id: crm\nurl: 'https://'\n", 2, "no http or https address"),
        ("id: crm\nurl: 'https://[::1/x'\n", 2, "no http or https address"),
        ("id: crm\nurl: https://me:secret@crm.example/\n", 2, "a user name or a password is refused"),
        ("id: crm\nurl: https://crm.example\nsecret: whsec_x\n", 3, "unknown key `secret`"),
        ("id: crm\nurl: https://crm.example\nkinds: [churn]\n", 3, "cannot be 'churn'"),
        ("id: crm\nurl: https://crm.example\nkinds: []\n", 3, "kinds"),
    ],
)
def test_mistakes_are_told_wherever_they_are_loaded(tmp_path: Path, text: str, line: int, said: str) -> None:
    write(tmp_path, "crm", text)
    for load in (load_webhooks, load_definitions):
        with pytest.raises(DefinitionError) as caught:
            load(tmp_path)
        assert caught.value.line == line
        assert said in str(caught.value)
        assert "secret@" not in str(caught.value)


def test_an_id_is_taken_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, name, "id: crm\nurl: https://crm.example\n")
    for load in (load_webhooks, load_definitions):
        with pytest.raises(DefinitionError, match=r"is taken by a\.yaml"):
            load(tmp_path)
