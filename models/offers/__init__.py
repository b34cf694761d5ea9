"""Next-best-offer: candidates from what all users do and what this one did, ranked, with reason and propensity."""
