"""The embedded stack: broker, Redis, mail sink and roles as processes of this machine, nothing to install."""
