"""Channels: one file per way to reach a person, what they have in common, and how a mail is written."""
