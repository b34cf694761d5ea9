"""Redis behind TLS, with a certificate that nobody but the address vouches for."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
import uvloop

from models.errors import TransientError
from services.state.ledger import Ledger
from services.state.link import Link
from services.state.redis_lane import RedisLaneStore, connect, translated
from services.state.store import Change
from support.ports import LOOPBACK, free_port
from support.redis import RedisServer, redis_binary

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "redis.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(folder / "redis.key"), "-out", str(made), "-days", "2", "-subj", "/CN=redis"]
    subprocess.run([*words, "-addext", f"subjectAltName=IP:{LOOPBACK}"], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def port(certificate: Path) -> Iterator[int]:
    found = free_port()
    options = {
        "tls-port": str(found),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(certificate.with_suffix(".key")),
        "tls-ca-cert-file": str(certificate),
        "tls-auth-clients": "no",
    }
    with RedisServer(redis_binary(), options=options):
        yield found


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_lanes_ledger_and_everybody_else(port: int, certificate: Path, loop: str) -> None:
    url = f"rediss://{LOOPBACK}:{port}/0?ssl_ca_certs={certificate}"

    async def lane() -> None:
        store = RedisLaneStore(Link(url), 3)
        large = bytes(range(256)) * 4096  # many records of TLS
        await store.load(None, 0, lambda due: due)
        await store.commit(Change(b"fence", large, 1))
        assert (await store.load(None, 0, lambda due: due)).state == large
        store.close()
        ledger = Ledger(url)
        assert await ledger.run_id()
        await ledger.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(lane())
    with closing(connect(url)) as client, translated():
        assert client.get("{p3}:fence") == b"fence"


def test_a_certificate_that_nobody_vouches_for_is_refused(port: int) -> None:
    url = f"rediss://{LOOPBACK}:{port}/0"
    with closing(connect(url)) as client, pytest.raises(TransientError, match="certificate"), translated():
        client.ping()
    with pytest.raises((redis.RedisError, ssl.SSLError), match="certificate"):
        asyncio.run(Link(url).connect())
