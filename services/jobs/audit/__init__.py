"""`kairos audit`: recompute from the log what Redis must contain, and show that it does."""

from services.jobs.audit.report import AuditReport, LaneAudit
from services.jobs.audit.run import run_audit

__all__ = ["AuditReport", "LaneAudit", "run_audit"]
