"""Seeded worlds with a known truth, through the statistics that the service uses: what the methods are worth."""
