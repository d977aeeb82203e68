"""Boards, histories, trees and inboxes: as tables for people and as documents for programs.

The documents are stable: fields are added, never renamed. Decimals are text, moments RFC 3339 in UTC.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from okr.insights.v1.insights_pb2 import BoardKeyResult, BoardObjective, GetBoardResponse, HistoryEntry
from okr.notifications.v1.notifications_pb2 import Notification, NotificationKind
from okr_cli import words
from okr_cli.lookups import short_ids
from okr_cli.tables import Cell, Column, Row

Names = Mapping[str, str]
UNKNOWN = "(unknown)"

BOARD_COLUMNS = (
    Column("", flexible=True, least=28),
    Column("start", align="right", drop=6),
    Column("now", align="right"),
    Column("commit", align="right", drop=3),
    Column("target", align="right", drop=2),
    Column("progress", align="right"),
    Column("pace"),
    Column("conf", align="right", drop=4),
    Column("seen", align="right", drop=5),
    Column("accountable", drop=7),
    Column("id"),
)


def name_of(names: Names, identifier: str) -> str:
    return names.get(identifier, UNKNOWN) if identifier else ""


def board_rows(board: GetBoardResponse, names: Names, now: datetime) -> list[Row]:
    """Each objective as a heading, its key results below it."""
    shown = short_ids(each.key_result_id for objective in board.objectives for each in objective.key_results)
    rows: list[Row] = []
    for objective in board.objectives:
        if rows:
            rows.append(Row([""] * len(BOARD_COLUMNS)))
        rows.append(objective_row(objective, names))
        rows += [key_result_row(each, names, now, shown) for each in objective.key_results]
    return rows


def objective_row(objective: BoardObjective, names: Names) -> Row:
    state = "" if objective.state == "active" else f", {objective.state}"
    title = f"{objective.title} ({objective.unit_name}, {name_of(names, objective.owner_id)}{state})"
    progress = Cell(words.percent(objective.progress), "bold")
    blanks = [""] * 4
    return Row(
        [Cell(title, "bold"), *blanks, progress, words.pace(objective.pace), "", "", "", ""],
        heading=True,
    )


def key_result_row(each: BoardKeyResult, names: Names, now: datetime, shown: Mapping[str, str]) -> Row:
    return Row(
        [
            f"  {each.title}",
            Cell(words.mark(each, each.start), "dim"),
            words.value_of(each),
            words.mark(each, each.commit),
            words.mark(each, each.target),
            words.percent(each.progress),
            words.pace(each.pace, each.pace_days),
            words.confidence(each.confidence),
            words.age(each.checked_in_at, now),
            name_of(names, each.accountable_id),
            Cell(shown[each.key_result_id], "dim"),
        ]
    )


def board_document(board: GetBoardResponse, names: Names) -> dict[str, Any]:
    return {
        "organization": board.organization_name,
        "cycle": {
            "id": board.cycle_id,
            "name": board.cycle_name,
            "starts_on": board.cycle_starts_on,
            "ends_on": board.cycle_ends_on,
        },
        "as_of": board.as_of,
        "objectives": [objective_document(objective, names) for objective in board.objectives],
    }


def objective_document(objective: BoardObjective, names: Names) -> dict[str, Any]:
    return {
        "id": objective.objective_id,
        "title": objective.title,
        "department": {"id": objective.unit_id, "name": objective.unit_name},
        "owner": person_document(objective.owner_id, names),
        "state": objective.state,
        "parent_id": objective.parent_objective_id or None,
        "progress": objective.progress or None,
        "expected": objective.expected or None,
        "pace": words.pace_word(objective.pace) or None,
        "checked_in_at": objective.checked_in_at or None,
        "key_results": [key_result_document(each, names) for each in objective.key_results],
    }


def key_result_document(each: BoardKeyResult, names: Names) -> dict[str, Any]:
    return {
        "id": each.key_result_id,
        "title": each.title,
        "unit": each.unit,
        "start": each.start,
        "commit": each.commit,
        "target": each.target,
        "value": each.value or None,
        "confidence": each.confidence or None,
        "progress": each.progress or None,
        "expected": each.expected or None,
        "pace": words.pace_word(each.pace) or None,
        "pace_days": each.pace_days or None,
        "checked_in_at": each.checked_in_at or None,
        "accountable": person_document(each.accountable_id, names),
        "open": each.open,
        "starts_on": each.starts_on,
        "due_on": each.due_on,
        "type": each.type,
        "stretch": each.stretch or None,
        "range": {"low": each.low or None, "high": each.high or None} if each.low or each.high else None,
        "guard_rail": each.guard_rail,
        "weight": each.weight or None,
    }


def person_document(identifier: str, names: Names) -> dict[str, str | None] | None:
    return {"id": identifier, "name": names.get(identifier)} if identifier else None


# History

HISTORY_COLUMNS = (
    Column("known"),
    Column("true", drop=2),
    Column("what", flexible=True, least=22),
    Column("value", align="right"),
    Column("progress", align="right"),
    Column("conf", align="right", drop=3),
    Column("by", drop=1),
    Column("check-in", drop=4),
    Column("note", flexible=True, least=20),
)


SHARES_AND_ZONES = ("maintain", "milestone", "binary", "baseline", "ordinal")
"""Types whose marks are not in their unit."""


def marks(each: BoardKeyResult) -> str:
    """What a key result promises, as its type has it; nothing where that says nothing."""
    match each.type:
        case "maintain":
            return f"to be kept {words.within(each.low, each.high)}, {words.percent(each.commit)} of the time promised"
        case "milestone":
            return f"commit {words.percent(each.commit)}, target {words.percent(each.target)} of its milestones"
        case "binary" | "baseline" | "ordinal":
            return ""
        case _:
            return (
                f"start {words.number(each.start)}, commit {words.number(each.commit)}, "
                f"target {words.measure(each.target, each.unit)}"
            )


def history_rows(each: BoardKeyResult, entries: Sequence[HistoryEntry], names: Names) -> list[Row]:
    unit = each.unit
    shown = short_ids(entry.check_in_id for entry in entries if entry.check_in_id)
    rows = []
    for entry in entries:
        known, true = words.minute(entry.recorded_at), words.day(entry.occurred_at)
        corrected = entry.kind == "CheckInCorrected"
        rows.append(
            Row(
                [
                    Cell(known, "dim"),
                    Cell(true if true != known[:10] else "", "yellow"),
                    Cell(happened(entry, each, names), "yellow" if corrected else ""),
                    words.measure(entry.value, unit),
                    words.percent(entry.progress) if entry.value else "",
                    words.confidence(entry.confidence),
                    name_of(names, entry.person_id),
                    Cell(shown.get(entry.check_in_id, ""), "dim"),
                    entry.note,
                ]
            )
        )
    return rows


def happened(entry: HistoryEntry, each: BoardKeyResult, names: Names) -> str:
    """One entry of a history in words."""
    unit = each.unit
    who = name_of(names, entry.champion_id)
    match entry.kind:
        case "CheckInRecorded":
            return "check-in"
        case "CheckInCorrected":
            before = words.measure(entry.previous_value, unit)
            return f"corrected, was {before}" if before else "corrected"
        case "TargetRevised":
            return f"commit and target revised: {_revised(entry)}"
        case "KeyResultDefined" if each.type in SHARES_AND_ZONES:
            return "defined"
        case "KeyResultDefined":
            return (
                f"defined: from {words.number(entry.start)}, commit {words.number(entry.commit)}, "
                f"target {words.measure(entry.target, unit)}"
            )
        case "ChampionAssigned":
            return f"{who} is {entry.role.replace('_', ' ')}"
        case "ChampionReleased":
            return f"{who} is no longer {entry.role.replace('_', ' ')}"
        case _:
            return words.spaced(entry.kind)


def _revised(entry: HistoryEntry) -> str:
    pairs = ((entry.previous_commit, entry.commit), (entry.previous_target, entry.target))
    return ", ".join(
        f"{words.number(before)} → {words.number(after)}" if before else words.number(after) for before, after in pairs
    )


def entry_document(entry: HistoryEntry, names: Names) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "recorded_at": entry.recorded_at,
        "occurred_at": entry.occurred_at,
        "person": person_document(entry.person_id, names),
        "check_in_id": entry.check_in_id or None,
        "value": entry.value or None,
        "confidence": entry.confidence or None,
        "progress": entry.progress or None,
        "note": entry.note or None,
        "start": entry.start or None,
        "commit": entry.commit or None,
        "target": entry.target or None,
        "previous_value": entry.previous_value or None,
        "previous_confidence": entry.previous_confidence or None,
        "previous_commit": entry.previous_commit or None,
        "previous_target": entry.previous_target or None,
        "champion": person_document(entry.champion_id, names),
        "role": entry.role or None,
        "position": entry.position,
    }


def standing(each: BoardKeyResult) -> str:
    """Where a key result stands, in one line."""
    if not each.value:
        way = f"from {words.mark(each, each.start)} to" if words.mark(each, each.start) else "asked for:"
        asked = f"; {way} {words.mark(each, each.target)} {each.unit}".rstrip() if words.mark(each, each.target) else ""
        return f"no check-in yet{asked}"
    moves = each.type in ("", "increase", "decrease")
    parts = [f"{words.value_of(each)}, {words.percent(each.progress)} of the way" if moves else words.value_of(each)]
    if pace := words.pace(each.pace, each.pace_days).text:
        parts.append(pace)
    if each.confidence:
        parts.append(f"confidence {words.confidence(each.confidence)} of 10")
    return ", ".join(parts)


# The tree

TREE_COLUMNS = (
    Column("objective", flexible=True, least=32),
    Column("progress", align="right"),
    Column("pace"),
    Column("department", drop=2),
    Column("owner", drop=1),
    Column("id", drop=3),
)


def tree_rows(objectives: Sequence[BoardObjective], parents: Mapping[str, str], names: Names) -> list[Row]:
    """Objectives below the ones they contribute to."""
    known = {objective.objective_id: objective for objective in objectives}
    children: dict[str, list[BoardObjective]] = {}
    for objective in objectives:
        parent = parents.get(objective.objective_id, "")
        children.setdefault(parent if parent in known else "", []).append(objective)
    shown = short_ids(known)
    rows: list[Row] = []

    def walk(parent: str, indent: str) -> None:
        below = children.get(parent, [])
        for index, objective in enumerate(below):
            last = index == len(below) - 1
            branch = ("└─ " if last else "├─ ") if parent else ""
            rows.append(
                Row(
                    [
                        Cell(f"{indent}{branch}{objective.title}", "" if parent else "bold"),
                        words.percent(objective.progress),
                        words.pace(objective.pace),
                        objective.unit_name,
                        name_of(names, objective.owner_id),
                        Cell(shown[objective.objective_id], "dim"),
                    ]
                )
            )
            walk(objective.objective_id, indent + (("   " if last else "│  ") if parent else ""))

    walk("", "")
    return rows


def tree_document(objectives: Sequence[BoardObjective], parents: Mapping[str, str], names: Names) -> list[Any]:
    known = {objective.objective_id for objective in objectives}

    def below(parent: str) -> list[Any]:
        return [
            {
                "id": objective.objective_id,
                "title": objective.title,
                "department": objective.unit_name,
                "owner": person_document(objective.owner_id, names),
                "progress": objective.progress or None,
                "pace": words.pace_word(objective.pace) or None,
                "contributed_by": below(objective.objective_id),
            }
            for objective in objectives
            if (each := parents.get(objective.objective_id, "")) == parent or (not parent and each not in known)
        ]

    return below("")


# The inbox

INBOX_COLUMNS = (Column("when"), Column("what", flexible=True))


def inbox_rows(notifications: Sequence[Notification]) -> list[Row]:
    """Two lines each: what it is about, and why one sees it."""
    rows = []
    for each in notifications:
        word, style = words.NOTIFICATIONS.get(each.kind, ("news", ""))
        rows.append(Row([Cell(words.day(each.occurred_at), "dim"), Cell(f"{word}: {each.key_result_title}", style)]))
        rows.append(Row(["", f"  {each.explanation}"]))
    return rows


def notification_document(each: Notification) -> dict[str, Any]:
    return {
        "id": each.notification_id,
        "kind": NotificationKind.Name(each.kind).removeprefix("NOTIFICATION_KIND_").lower(),
        "key_result_id": each.key_result_id,
        "objective_id": each.objective_id,
        "key_result_title": each.key_result_title,
        "explanation": each.explanation,
        "occurred_at": each.occurred_at,
    }
