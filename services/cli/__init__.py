"""The command line: ``kairos``."""

from services.cli.main import main

__all__ = ["main"]
