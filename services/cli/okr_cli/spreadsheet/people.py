"""Several people in one cell: `Ana Lima, Ben Okafor and Chloé Martin`.

Where semicolons or line breaks stand between people, commas belong to names: `Lima, Ana; Okafor, Ben`.
So they do in a sheet whose owners, one a cell, are written with one.
"""

import re

_BETWEEN = re.compile(r"[;,/&\n|+]|\s(?:and|und|et)\s", re.IGNORECASE)
_BETWEEN_BUT_COMMA = re.compile(r"[;/&\n|+]|\s(?:and|und|et)\s", re.IGNORECASE)


def people_in(text: str, surname_first: bool = False) -> list[str]:
    """The names in a cell, in their order: the first is accountable. `surname_first`: commas belong to names."""
    between = _BETWEEN_BUT_COMMA if surname_first or ";" in text or "\n" in text else _BETWEEN
    return [name for part in between.split(text) if (name := " ".join(part.split()))]
