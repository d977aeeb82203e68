"""What the read model makes of what was told, and what the sweep has to know."""

from decimal import Decimal

from okr_notifications.read_model import InboxRow, WatchedRow, inbox
from tests.insights.folding import folded
from tests.notifications.builders import ANA, BEN, Ears, assigned, closed, recorded, released, watching


def watched(ears: Ears) -> WatchedRow:
    return folded(inbox, *ears.events).row(WatchedRow)


def test_each_person_has_an_inbox_in_the_order_of_telling() -> None:
    ears = watching()
    ears.hear(recorded("30", on=50), on=50)
    ears.hear(assigned(BEN), on=51)
    ears.hear(recorded("55", on=52), on=52)
    rows = folded(inbox, *ears.events).all(InboxRow)
    assert [(row.person_id, row.kind) for row in sorted(rows, key=lambda row: row.position)] == [
        (ANA, "became_accountable"),
        (ANA, "fell_behind"),
        (BEN, "became_accountable"),
        (BEN, "commit_reached"),
    ]


def test_an_open_key_result_that_is_not_behind_is_due_a_look() -> None:
    row = watched(watching())
    assert row.promise is not None
    assert (row.due_a_look, row.promise.target, row.latest) == (True, Decimal(100), None)


def test_a_value_is_what_the_sweep_judges() -> None:
    ears = watching()
    ears.hear(recorded("30", on=30), on=30)
    latest = watched(ears).latest
    assert latest is not None
    assert latest.value == Decimal(30)


def test_behind_closed_or_nobodys_is_not_due_a_look() -> None:
    behind = watching()
    behind.hear(recorded("30", on=50), on=50)
    for ears in (behind, watching(closed()), watching(released(ANA))):
        assert not watched(ears).due_a_look


def test_a_value_heard_before_the_promise_makes_no_row_yet() -> None:
    ears = Ears()
    ears.hear(recorded("30", on=50), on=50)
    assert watched(ears) == WatchedRow(watched(ears).organization_id, watched(ears).key_result_id)
