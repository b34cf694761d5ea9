"""The brain: pure models of events, profiles, learning and decisions. No I/O, no clock, no environment."""
