"""The events of every service: what is written to the log, and what other services may hear."""
