from tests.checkins.conftest import firm, town

__all__ = ["firm", "town"]
