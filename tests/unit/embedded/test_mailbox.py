"""The mail sink's files: what the index says of a mail, and what a kill may leave behind."""

from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.embedded.mailbox import (
    INDEX_NAME,
    MBOX_NAME,
    count_by_message_id,
    encode_line,
    read_mails,
    read_raw,
    repair_tail,
    summarise,
)
from services.embedded.mailsink import MailStore

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)


def mail(kairos_id: str = "k1", subject: str = "Hello", text: str = "Hi", html: str = "<p>Hi</p>") -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@x.test", "anna@x.test", subject
    message["Message-ID"] = f"<{kairos_id}@kairos.test>"
    if kairos_id:
        message["X-Kairos-Message-Id"] = kairos_id
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    message.set_boundary("part")
    return message.as_bytes()


def test_headers_and_lengths_are_the_decoded_ones() -> None:
    found = summarise(mail("k1", "Grüße für dich", "naïve", "<b>ü</b>"), "a@x.test", ["b@x.test"], 7, 42)
    assert (found.kairos_id, found.message_id, found.subject) == ("k1", "<k1@kairos.test>", "Grüße für dich")
    assert (found.sender, found.recipients, found.offset, found.received_at) == (
        "a@x.test",
        ["b@x.test"],
        7,
        42,
    )
    # The e-mail package ends each part with a line break.
    assert (found.text_chars, found.html_chars) == (len("naïve\n"), len("<b>ü</b>\n"))


@settings(deadline=None)
@given(subject=_TEXT, text=_TEXT, html=_TEXT)
def test_any_text_survives(subject: str, text: str, html: str) -> None:
    found = summarise(mail("k", subject, text, html), "a", ["b"], 0, 0)
    assert found.subject.split() == subject.split()
    assert found.text_chars == len(text) + 1
    assert found.html_chars == len(html) + 1


@settings(deadline=None)
@given(raw=st.binary(max_size=300))
def test_garbage_is_summarised_too(raw: bytes) -> None:
    assert summarise(raw, "a", ["b"], 0, 0).length == len(raw)


@pytest.mark.parametrize("charset", ["utf-8", "no-such-charset"])
def test_an_unknown_charset_is_no_error(charset: str) -> None:
    raw = f"Content-Type: text/plain; charset={charset}\r\n\r\nabc".encode()
    assert summarise(raw, "a", ["b"], 0, 0).text_chars == 3


def test_the_raw_mail_is_found_again(tmp_path: Path) -> None:
    store = MailStore(tmp_path, lambda: 1.5)
    raws = [mail(f"k{n}", text="x" * n) for n in range(5)]
    for raw in raws:
        store.add("a@x.test", ["b@x.test"], raw)
    store.close()
    found = list(read_mails(tmp_path))
    assert [read_raw(tmp_path, one) for one in found] == raws
    assert {one.received_at for one in found} == {1500}


def test_a_second_store_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    for n in (1, 2):
        store = MailStore(tmp_path, lambda: 0.0)
        store.add("a", ["b"], mail(f"k{n}"))
        store.close()
    assert [read_raw(tmp_path, one) for one in read_mails(tmp_path)] == [mail("k1"), mail("k2")]


def test_counts_by_kairos_id_and_by_message_id_without_it(tmp_path: Path) -> None:
    store = MailStore(tmp_path, lambda: 0.0)
    foreign = b"Message-ID: <other@x.test>\r\n\r\nhi"
    for raw in (mail("k1"), mail("k2"), mail("k1"), foreign):
        store.add("a", ["b"], raw)
    store.close()
    assert count_by_message_id(tmp_path) == {"k1": 2, "k2": 1, "<other@x.test>": 1}


def test_a_line_cut_off_by_a_kill_is_not_read_and_not_continued(tmp_path: Path) -> None:
    store = MailStore(tmp_path, lambda: 0.0)
    store.add("a", ["b"], mail("k1"))
    store.close()
    with (tmp_path / INDEX_NAME).open("ab") as index:
        index.write(encode_line(summarise(mail("k2"), "a", ["b"], 0, 0))[:-20])
    assert [one.kairos_id for one in read_mails(tmp_path)] == ["k1"]
    store = MailStore(tmp_path, lambda: 0.0)
    store.add("a", ["b"], mail("k3"))
    store.close()
    assert [one.kairos_id for one in read_mails(tmp_path)] == ["k1", "k3"]


def test_a_raw_mail_without_its_line_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / MBOX_NAME).write_bytes(b"half a ma")
    store = MailStore(tmp_path, lambda: 0.0)
    store.add("a", ["b"], mail("k1"))
    store.close()
    (only,) = read_mails(tmp_path)
    assert read_raw(tmp_path, only) == mail("k1")


def test_repair_of_nothing_is_nothing(tmp_path: Path) -> None:
    repair_tail(tmp_path / INDEX_NAME)
    assert list(read_mails(tmp_path)) == []
