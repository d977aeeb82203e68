"""Several people in one cell: `Ana Lima, Ben Okafor and Chloé Martin`.

Where semicolons or line breaks stand between people, commas belong to names: `Lima, Ana; Okafor, Ben`.
"""

import re

_BETWEEN = re.compile(r"[;,/&\n|+]|\s(?:and|und|et)\s", re.IGNORECASE)
_BETWEEN_BUT_COMMA = re.compile(r"[;/&\n|+]|\s(?:and|und|et)\s", re.IGNORECASE)


def people_in(text: str) -> list[str]:
    """The names in a cell, in their order: the first is accountable."""
    between = _BETWEEN_BUT_COMMA if ";" in text or "\n" in text else _BETWEEN
    return [name for part in between.split(text) if (name := " ".join(part.split()))]
