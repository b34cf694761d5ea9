"""Experiments: who gets which variant, what is counted, and what the counts say."""
