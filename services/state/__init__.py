"""State in Redis. The only place that imports the redis package; the key layout is in :mod:`services.state.keys`."""
