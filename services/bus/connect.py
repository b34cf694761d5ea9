"""Connect a client of kafka-python so that nothing of it is left behind when it cannot connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka.net.compat import KafkaNetClient


def connected(kind: Callable[..., Any], bootstrap: str, **settings: Any) -> Any:
    """Make a `KafkaProducer`, `KafkaConsumer` or `KafkaAdminClient`.

    kafka-python 3.0 starts a thread in the constructor and, when the brokers do not answer in time, raises
    without ending it: it would go on trying for ever, one more with each attempt of the caller.

    Raises
    ------
    kafka.errors.KafkaError
        As the constructor does.
    """
    clients: list[Any] = []

    def remembered(*args: Any, **configs: Any) -> Any:
        client = KafkaNetClient(*args, **configs)
        clients.append(client)
        return client

    servers = [part.strip() for part in bootstrap.split(",")]
    try:
        return kind(bootstrap_servers=servers, kafka_client=remembered, **settings)
    except BaseException:
        for client in clients:
            client.close()
        raise
