"""The live page, the same as JSON, and the small HTTP surface around it (health, metrics, unsubscribe)."""
