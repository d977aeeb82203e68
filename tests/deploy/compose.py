"""docker-compose.yml as Compose would read it: anchors merged, variables at their defaults."""

import re
from typing import Any

import yaml

from tests.deploy.recipe import PROJECT

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
ONCE = ("keys", "topics", "samples", "database")
SERVICES = ("directory", "goals", "checkins", "alignment", "notifications", "insights")


def read_compose(**given: str) -> dict[str, Any]:
    """The whole file; `given` are the variables somebody has set."""
    text = (PROJECT / "docker-compose.yml").read_text()
    document: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda found: given.get(found[1], found[2] or ""), text))
    return document


def environment(service: dict[str, Any]) -> dict[str, str]:
    """Variables as a container gets them."""
    return {name: "" if value is None else str(value) for name, value in service["environment"].items()}
