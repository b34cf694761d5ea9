"""After Redis was restored from a backup: does the log still reach back to it, and what will fill the gap."""

from services.jobs.restore.found import Found, InputGap, LaneGap, LearnGap, MessagesGap
from services.jobs.restore.run import follow, restore
from services.jobs.restore.words import losses, sentences

__all__ = ["Found", "InputGap", "LaneGap", "LearnGap", "MessagesGap", "follow", "losses", "restore", "sentences"]
