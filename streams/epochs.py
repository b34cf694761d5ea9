"""The newest epoch that a lane's journal has seen: what the next owner's must lie above.

Redis counts the epochs. Where it forgot the last take-over and the next owner's clock is behind the former's, the new
epoch would lie below a published one, and consumers would drop all that the lane publishes until the clock catches up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from config.settings import KafkaSettings
from config.topics import JOURNAL

log = structlog.get_logger(__name__)
LOOK_BACK = 50  # a zombie may have written the very last ones
LIMIT_S = 5.0


async def last_epochs(kafka: KafkaSettings, lanes: Sequence[int]) -> dict[int, int]:
    """Highest epoch among the last records of each lane's journal; lanes without any are left out.

    Without an answer within `LIMIT_S` nothing is known, which the log says: the clock has to do.
    """
    try:
        async with asyncio.timeout(LIMIT_S):
            return await _read(kafka, lanes)
    except (KafkaError, TimeoutError) as error:
        log.warning("epochs_unknown", lanes=list(lanes), error=repr(error))
        return {}


async def _read(kafka: KafkaSettings, lanes: Sequence[int]) -> dict[int, int]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        places = [TopicPartition(JOURNAL.name, lane) for lane in lanes]
        firsts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        left = {place for place in places if ends[place] > firsts[place]}
        found: dict[int, int] = {}
        if not left:
            return found
        consumer.assign(left)
        for place in left:
            consumer.seek(place, max(firsts[place], ends[place] - LOOK_BACK))
        while left:
            for place, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                for record in records:
                    epoch = int(dict(record.headers).get("kairos-epoch", b"0"))
                    found[place.partition] = max(epoch, found.get(place.partition, 0))
                if records and records[-1].offset + 1 >= ends[place]:
                    left.discard(place)
        return found
    finally:
        await consumer.stop()
