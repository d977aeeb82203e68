"""What the machine offers the tests, and what CI demands of it."""

import os


def database_url() -> str | None:
    """A PostgreSQL given from outside, or None to start our own."""
    return os.environ.get("DATABASE_URL") or None
