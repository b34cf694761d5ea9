"""Batch jobs: evaluation, audit, training."""
