"""The producer of a worker: all replicas, idempotent where the broker can."""

from __future__ import annotations

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IncompatibleBrokerVersion, UnknownError, UnsupportedVersionError

from config.settings import KafkaSettings

log = structlog.get_logger()


async def start_producer(kafka: KafkaSettings, **options: object) -> AIOKafkaProducer:
    """Connect; a broker without idempotent producers (the embedded one) gets a plain one.

    There a batch repeated after a lost answer lies twice in the log, and consumers drop it by its position or its id.
    """
    try:
        return await _start(kafka, idempotent=True, **options)
    except (UnknownError, UnsupportedVersionError, IncompatibleBrokerVersion) as error:
        log.info("producer_not_idempotent", reason=repr(error))
        return await _start(kafka, idempotent=False, **options)


async def _start(kafka: KafkaSettings, *, idempotent: bool, **options: object) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap,
        enable_idempotence=idempotent,
        acks="all",
        request_timeout_ms=kafka.request_timeout_ms,
        **options,
    )
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer
