"""Learners: pure, snapshotted, restored exactly. One learner is one file; each runs the conformance suite."""
