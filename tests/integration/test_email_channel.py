"""The e-mail channel against a real SMTP server: which step failed decides what is known."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from services.channels.base import ChannelConfig, Delivered, Failed, Outcome, Rendered, Transient, Unknown
from services.channels.email import EmailChannel
from support.mail import MailSink
from support.messages import message
from support.ports import free_port

RENDERED = Rendered(
    subject="Emma, wir vermissen dich — 5 £ für dich",
    text="Hello\n.a line that begins with a dot\n.\nThe end\n",
    html="<p>Hello £5</p>",
    push="Hello",
    unsubscribe_url="https://shop.example.com/u/" + "A" * 180,
)


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with MailSink() as server:
        yield server


@pytest.fixture
async def email(sink: MailSink) -> AsyncIterator[EmailChannel]:
    made = EmailChannel(ChannelConfig(clock_ms=lambda: 0, smtp_port=sink.port, smtp_timeout_s=1.0))
    yield made
    await made.close()


async def send(email: EmailChannel, to: str | None, number: int = 1) -> Outcome:
    return await email.deliver(message(id=number, to=to), RENDERED)


async def test_a_mail_arrives_with_its_headers_and_both_parts(email: EmailChannel, sink: MailSink) -> None:
    assert await send(email, "emma@example.com") == Delivered("2.0.0 taken as 1")
    mail = sink.mails[0].message
    assert mail["Subject"] == RENDERED.subject
    assert mail["List-Unsubscribe"] == f"<{RENDERED.unsubscribe_url}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["List-ID"] == "win-back <win-back.kairos.test>"
    assert mail["Message-ID"] == f"<{'0' * 31}1@kairos.test>"
    assert mail["X-Kairos-Message-Id"] == "0" * 31 + "1"
    assert mail["Date"] == "Wed, 24 Feb 2010 08:26:40 +0000"
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().replace("\r\n", "\n") == RENDERED.text
    assert html.get_content().rstrip() == RENDERED.html


async def test_the_unsubscribe_link_is_in_one_piece_on_the_wire(email: EmailChannel, sink: MailSink) -> None:
    await send(email, "emma@example.com")
    assert f"List-Unsubscribe: <{RENDERED.unsubscribe_url}>\r\n".encode() in sink.mails[0].raw


async def test_a_transactional_mail_has_no_unsubscribe_headers(email: EmailChannel, sink: MailSink) -> None:
    rendered = Rendered("Thanks", "Thanks\n", "<p>Thanks</p>", "")
    await email.deliver(message(purpose="transactional"), rendered)
    assert sink.mails[0].message["List-Unsubscribe"] is None
    assert sink.mails[0].message["List-Unsubscribe-Post"] is None


async def test_the_same_command_gives_the_same_bytes(email: EmailChannel, sink: MailSink) -> None:
    await send(email, "emma@example.com")
    await send(email, "emma@example.com")
    assert sink.mails[0].raw == sink.mails[1].raw


async def test_refused_for_good(email: EmailChannel, sink: MailSink) -> None:
    assert await send(email, "refuse@example.com") == Failed("550 5.1.1 no such user")
    assert await send(email, "full@example.com") == Failed("554 5.6.0 not this content")
    assert sink.mails == []


async def test_refused_for_now_is_about_the_message_not_the_server(email: EmailChannel) -> None:
    first = await send(email, "later@example.com")
    assert first == Transient("451 4.7.1 greylisted, try again later", provider_down=False)
    assert isinstance(await send(email, "later@example.com"), Delivered)


async def test_hung_up_before_the_mail_is_certainly_not_sent(email: EmailChannel, sink: MailSink) -> None:
    outcome = await send(email, "vanish-before@example.com")
    assert isinstance(outcome, Transient)
    assert outcome.provider_down
    assert sink.mails == []


async def test_hung_up_after_the_final_dot_is_unknown(email: EmailChannel, sink: MailSink) -> None:
    assert isinstance(await send(email, "vanish-after@example.com"), Unknown)
    assert len(sink.mails) == 1  # it was taken: sending it again would have been the second one


async def test_no_answer_after_the_final_dot_is_unknown(email: EmailChannel, sink: MailSink) -> None:
    began = time.monotonic()
    assert isinstance(await send(email, "slow@example.com"), Unknown)
    assert time.monotonic() - began < 15, "the time limit of a second is kept, whatever else the machine does"
    assert len(sink.mails) == 1


async def test_no_server_is_transient() -> None:
    email = EmailChannel(ChannelConfig(clock_ms=lambda: 0, smtp_port=free_port(), smtp_timeout_s=1.0))
    assert isinstance(await send(email, "emma@example.com"), Transient)


@pytest.mark.parametrize("to", [None, "", "emma", "emma@example.com\r\nBcc: all@example.com", "a b@example.com"])
async def test_what_is_no_address_fails_without_a_word_to_the_server(
    email: EmailChannel, sink: MailSink, to: str | None
) -> None:
    assert isinstance(await send(email, to), Failed)
    assert not sink.seen


async def test_a_subject_cannot_bring_headers_of_its_own(email: EmailChannel, sink: MailSink) -> None:
    rendered = Rendered("Hello\r\nBcc: all@example.com", "x", "x", "")
    assert isinstance(await email.deliver(message(), rendered), Failed)
    assert not sink.seen


async def test_connections_are_used_again_and_a_stale_one_does_no_harm(email: EmailChannel, sink: MailSink) -> None:
    for number in range(3):
        assert isinstance(await send(email, "emma@example.com", number), Delivered)
    assert len(email._idle) == 1
    sink.stop()  # the kept connection dies
    with MailSink(port=sink.port) as again:
        assert isinstance(await send(email, "emma@example.com", 4), Delivered)
        assert len(again.mails) == 1
