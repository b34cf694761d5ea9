"""How far the outboxes are: the journal entry is the last thing that a batch publishes."""

import json

from kafka import KafkaConsumer, TopicPartition


def last_seq(consumer: KafkaConsumer, lane: int) -> int:
    """Number of the last batch in a lane's journal, 0 if there is none."""
    place = TopicPartition("journal", lane)
    end = consumer.end_offsets([place])[place]
    if end == 0:
        return 0
    consumer.assign([place])
    consumer.seek(place, end - 1)
    while True:
        for record in consumer.poll(timeout_ms=1_000).get(place, ()):
            if record.offset == end - 1:
                return int(json.loads(record.value)["seq"])
