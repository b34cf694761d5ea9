"""The rules: settings, the topic table, and what a marketer writes (YAML). Imports nothing of Kairos."""
