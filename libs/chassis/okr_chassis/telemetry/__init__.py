"""What a process tells of itself while it works: correlation, traces, log lines, counts of calls."""
