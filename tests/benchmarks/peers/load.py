"""The load of the latency measurements: events at a fixed rate, each with the moment of its hand-over in it.

    python -m benchmarks.peers.load KAFKA SECONDS RATE

All events are encoded beforehand but for that moment; a line on the standard output says that publishing begins.
librdkafka's producer, all replicas, idempotent, 2 ms of batching: it takes a tenth of the processor time of a producer
in Python. Both so that the worker that is measured has a core for itself.
"""

from __future__ import annotations

import gc
import random
import sys
import time

from benchmarks.shop import SEED, shop_event
from confluent_kafka import Producer

LINGER_MS = 2
_SLICE_S = 0.002
_NO_TIME = 1 << 42  # in no other field


def main() -> None:
    """Publish in slices of two milliseconds."""
    bootstrap, seconds, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
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
    events = _encoded(total)
    gc.freeze()
    print("publishing", flush=True)
    begun = time.perf_counter()
    while number < total:
        wanted = min(total, int((time.perf_counter() - begun) * rate))
        while number < wanted:
            topic, user, before, after = events[number]
            producer.produce(topic, b"%b%d%b" % (before, int(time.time() * 1000), after), user)
            number += 1
        producer.poll(0)
        time.sleep(_SLICE_S)
    producer.flush()


def _encoded(count: int) -> list[tuple[str, str, bytes, bytes]]:
    """Events as topic, user, and the JSON before and after the time."""
    rng, found = random.Random(SEED + 1), []
    for number in range(count):
        record = shop_event(rng, 10_000_000 + number, _NO_TIME)
        before, _, after = record.value.partition(b"%d" % _NO_TIME)
        found.append((record.topic, record.user, before, after))
    return found


if __name__ == "__main__":
    main()
