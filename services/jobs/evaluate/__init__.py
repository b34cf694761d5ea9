"""`kairos evaluate`: judge Kairos on your own history before going live (docs/evaluate.md)."""

from services.jobs.evaluate import cli_goals, cli_offers, cli_shop  # their commands register themselves
from services.jobs.evaluate.cli import evaluate_app

__all__ = ["cli_goals", "cli_offers", "cli_shop", "evaluate_app"]
