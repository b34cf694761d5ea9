"""The load of the latency measurements: events at a fixed rate, each with the moment of its hand-over in it.

    python -m benchmarks.peers.load KAFKA SECONDS RATE

librdkafka's producer, all replicas, idempotent, 2 ms of batching: it takes a tenth of the processor time of a producer
in Python, so that the worker that is measured has a core for itself.
"""

from __future__ import annotations

import random
import sys
import time

from benchmarks.shop import SEED, shop_event
from confluent_kafka import Producer

LINGER_MS = 2
_SLICE_S = 0.002


def main() -> None:
    """Publish in slices of two milliseconds."""
    bootstrap, seconds, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(SEED + 1)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "partitioner": "murmur2_random",  # Kafka's own
        }
    )
    producer.list_topics(timeout=10)  # connected before the first event
    total, number = rate * seconds, 0
    begun = time.perf_counter()
    while number < total:
        wanted = min(total, int((time.perf_counter() - begun) * rate))
        while number < wanted:
            record = shop_event(rng, 10_000_000 + number, int(time.time() * 1000))
            producer.produce(record.topic, record.value, record.user)
            number += 1
        producer.poll(0)
        time.sleep(_SLICE_S)
    producer.flush()


if __name__ == "__main__":
    main()
