"""Dead letters: browse them, mend them, and send them to their topic again."""

from services.jobs.letters.edit import EditError, edited
from services.jobs.letters.read import Choice, Letter, read_letters
from services.jobs.letters.redrive import Planned, Refused, plan, redrive

__all__ = [
    "Choice",
    "EditError",
    "Letter",
    "Planned",
    "Refused",
    "edited",
    "plan",
    "read_letters",
    "redrive",
]
