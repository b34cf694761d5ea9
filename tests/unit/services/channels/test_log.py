"""The log channel writes whole lines and keeps addresses out of the process log."""

import json
from pathlib import Path

from structlog.testing import capture_logs

from services.channels.base import Delivered, Rendered, Transient
from services.channels.log import LogChannel
from support.messages import message

RENDERED = Rendered("Grüße", "Hello\nEmma\n", "<p>x</p>", "")


async def test_lines_are_whole(tmp_path: Path) -> None:
    channel = LogChannel(tmp_path / "out.jsonl")
    for number in range(3):
        assert await channel.deliver(message(id=number, channel="log"), RENDERED) == Delivered("out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [message(id=number).id for number in range(3)]
    assert lines[0]["subject"] == "Grüße"
    assert lines[0]["text"] == "Hello\nEmma\n"


async def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    outcome = await LogChannel(tmp_path / "no" / "such" / "folder").deliver(message(), RENDERED)
    assert isinstance(outcome, Transient)


async def test_the_process_log_has_neither_content_nor_address() -> None:
    with capture_logs() as logs:
        assert isinstance(await LogChannel(None).deliver(message(), RENDERED), Delivered)
    assert logs[0]["message"] == message().id
    assert "emma" not in str(logs).lower()
