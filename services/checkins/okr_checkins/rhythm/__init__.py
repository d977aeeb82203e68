"""Who is to check in on what by when, and what became of it."""
