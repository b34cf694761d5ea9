"""The hands: everything with I/O (state in Redis, Kafka client, channels, page, jobs, command line)."""
