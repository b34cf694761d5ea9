"""Triggered messages: conditions, who listens to what, quiet hours and frequency caps."""
