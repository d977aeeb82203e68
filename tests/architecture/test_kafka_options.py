"""FastStream's defaults lose events: commit first, begin at the end, make topics of one partition."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / "libs" / "chassis" / "okr_chassis" / "kafka" / "subscriber.py"
MAKES_ONE = re.compile(r"\bKafka(Broker|Router)\(|\.subscriber\(|\bAckPolicy\.(?!MANUAL)")


def test_subscribers_are_made_in_one_place_where_their_options_are_written_out() -> None:
    """What they are there is asked of the subscriber itself, in tests/bus."""
    elsewhere = [
        str(path.relative_to(ROOT))
        for room in ("libs", "services")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path != HOME and MAKES_ONE.search(path.read_text())
    ]
    assert elsewhere == []
    made = HOME.read_text()
    assert len(MAKES_ONE.findall(made)) == 2, "one broker, one subscriber"
    for option in ("AckPolicy.MANUAL", 'auto_offset_reset="earliest"', "allow_auto_create_topics=False"):
        assert made.count(option) == 1
