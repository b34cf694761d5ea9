"""Batch training of the churn score: examples, search, judgement in time order, and a version for the registry."""
