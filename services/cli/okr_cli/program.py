"""How this program was called, so that what it prints can be typed again."""

import shutil
import sys
from pathlib import Path


def program() -> str:
    """`okr` where the shell finds it by that name, else its path from here."""
    called = Path(sys.argv[0])
    if called.name != "okr":
        return "okr"
    found = shutil.which("okr")
    if found is not None and Path(found).resolve() == called.resolve():
        return "okr"
    here = Path.cwd()
    return str(called.relative_to(here)) if called.is_absolute() and called.is_relative_to(here) else str(called)
