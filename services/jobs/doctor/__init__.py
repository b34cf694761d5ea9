"""`kairos doctor`: look at everything that Kairos needs, and say what to do about each thing that is not right."""

from services.jobs.doctor.finding import Finding, Level
from services.jobs.doctor.run import examine

__all__ = ["Finding", "Level", "examine"]
