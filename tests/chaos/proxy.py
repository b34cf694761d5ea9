"""A TCP proxy in front of Redis that is slow, cuts connections and loses replies on command.

``python -m chaos.proxy PORT CONTROL TARGET``. Commands on the control port: ``target PORT`` (where new connections
lead; the open ones are cut), ``delay MS`` (before each piece that a client sends), ``cut`` (all connections, now),
``swallow N`` (the next N replies to an EXEC or EVALSHA: Redis carries it out, the client gets half of the answer and
a closed connection), ``swallowed`` (how many so far).
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from chaos.control import LOOPBACK, listen

PIECE = 256 * 1024
QUIET_S = 0.05


class Proxy:
    """What all connections share."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.to_swallow = self.swallowed = 0
        self.open: set[asyncio.StreamWriter] = set()

    def obey(self, words: list[str]) -> str:
        """A command."""
        match words:
            case ["target", port]:
                self.target = int(port)
                self.cut()
            case ["delay", delay]:
                self.delay_s = int(delay) / 1000
            case ["cut"]:
                return str(self.cut())
            case ["swallow", count]:
                self.to_swallow = int(count)
            case ["swallowed"]:
                return str(self.swallowed)
            case _:
                return f"no such command: {words}"
        return "ok"

    def cut(self) -> int:
        """Close everything."""
        count = len(self.open)
        for writer in self.open:
            writer.transport.abort()
        return count

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        try:
            behind, ahead = await asyncio.open_connection(LOOPBACK, self.target, limit=PIECE)
        except OSError:
            writer.transport.abort()
            return
        self.open |= {writer, ahead}
        link = _Link(self, reader, writer, behind, ahead)
        try:
            await asyncio.wait(
                [asyncio.create_task(link.up()), asyncio.create_task(link.down())],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self.open -= {writer, ahead}
            writer.transport.abort()
            ahead.transport.abort()


class _Link:
    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind: asyncio.StreamReader,
        ahead: asyncio.StreamWriter,
    ) -> None:
        self._proxy, self._reader, self._writer, self._behind, self._ahead = proxy, reader, writer, behind, ahead
        self._swallow = False

    async def up(self) -> None:
        """From the client to Redis."""
        try:
            while piece := await self._reader.read(PIECE):
                if self._proxy.delay_s:
                    await asyncio.sleep(self._proxy.delay_s)
                if self._proxy.to_swallow and (b"\r\nEXEC\r\n" in piece or b"\r\nEVALSHA\r\n" in piece):
                    self._proxy.to_swallow -= 1
                    self._swallow = True
                self._ahead.write(piece)
                await self._ahead.drain()
        except OSError:
            return

    async def down(self) -> None:
        """From Redis to the client."""
        try:
            while piece := await self._behind.read(PIECE):
                if self._swallow:
                    await self._lose(piece)
                    return
                self._writer.write(piece)
                await self._writer.drain()
        except OSError:
            return

    async def _lose(self, answer: bytes) -> None:
        """Wait until Redis has answered everything, and pass half of it on."""
        try:
            while piece := await asyncio.wait_for(self._behind.read(PIECE), QUIET_S):
                answer += piece
        except TimeoutError:
            pass
        self._proxy.swallowed += 1
        self._writer.write(answer[: len(answer) // 2])
        await self._writer.drain()
        self._writer.close()


async def main(port: int, control: int, target: int) -> None:
    """Serve until the end of the process."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.connect, LOOPBACK, port, limit=PIECE)
    await listen(control, proxy.obey)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:4])))
