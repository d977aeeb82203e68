"""The event log: append, read, consume, project, rebuild. Knows nothing of OKRs."""
