"""One line in, one line out: how the test tells its own servers (proxy, mail sink) to misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

LOOPBACK = "127.0.0.1"


def tell(port: int, line: str) -> str:
    """Send a command and return the answer."""
    with socket.create_connection((LOOPBACK, port), timeout=10.0) as connection:
        connection.sendall(line.encode() + b"\n")
        return connection.makefile().readline().strip()


async def listen(port: int, obey: Callable[[list[str]], str]) -> asyncio.Server:
    """Answer commands; `obey` gets the words of a line."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(obey(line.decode().split()).encode() + b"\n")
        await writer.drain()
        writer.close()

    return await asyncio.start_server(talk, LOOPBACK, port)
