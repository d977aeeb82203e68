"""Where a process keeps things: its data directory, PostgreSQL, schemas and roles."""
