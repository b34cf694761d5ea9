"""The log, for whatever is not a stream processor: publish, create topics, read from a place to a place.

kafka-python is imported in this package only.
"""

from services.bus.admin import TopicInfo, add_partitions, committed_offsets, create_topics, describe, working_groups
from services.bus.publisher import DeliveryError, Publisher, Undelivered, topic_for
from services.bus.reader import Follower, Record, end_offsets, offset_ranges, read_topic

__all__ = [
    "DeliveryError",
    "Follower",
    "Publisher",
    "Record",
    "TopicInfo",
    "Undelivered",
    "add_partitions",
    "committed_offsets",
    "create_topics",
    "describe",
    "end_offsets",
    "offset_ranges",
    "read_topic",
    "topic_for",
    "working_groups",
]
