"""How numbers, moments and states read on a screen."""

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from okr.checkins.v1.rhythm_pb2 import Duty, DutyState
from okr.insights.v1.insights_pb2 import BoardKeyResult, Pace
from okr.notifications.v1.notifications_pb2 import NotificationKind
from okr_cli.tables import Cell

PACES = {
    Pace.PACE_UNSPECIFIED: ("", ""),
    Pace.PACE_NOT_STARTED: ("not started", "dim"),
    Pace.PACE_PENDING: ("no check-in yet", "dim"),
    Pace.PACE_JUST_STARTED: ("just started", "dim"),
    Pace.PACE_AHEAD: ("ahead", "cyan"),
    Pace.PACE_ON_PACE: ("on pace", "green"),
    Pace.PACE_BEHIND: ("behind", "yellow"),
    Pace.PACE_FAR_BEHIND: ("far behind", "magenta"),
    Pace.PACE_IN_RANGE: ("in range", "green"),
    Pace.PACE_NEAR_RANGE: ("near its range", "yellow"),
    Pace.PACE_OUT_OF_RANGE: ("out of range", "magenta"),
    Pace.PACE_UNPACED: ("by its day", "dim"),
}
"""Words and colours of pace: ahead or behind, never failed. The words alone say everything."""

ZONES = {"0": "below commit", "1": "commit", "2": "target", "3": "stretch"}
"""What the values of an ordinal key result stand for."""

NOTIFICATIONS = {
    NotificationKind.NOTIFICATION_KIND_UNSPECIFIED: ("news", ""),
    NotificationKind.NOTIFICATION_KIND_BECAME_ACCOUNTABLE: ("you are accountable", "cyan"),
    NotificationKind.NOTIFICATION_KIND_FELL_BEHIND: ("fell behind", "yellow"),
    NotificationKind.NOTIFICATION_KIND_COMMIT_REACHED: ("commit reached", "green"),
    NotificationKind.NOTIFICATION_KIND_CHECK_IN_DUE: ("check-in due", "cyan"),
    NotificationKind.NOTIFICATION_KIND_CHECK_IN_OVERDUE: ("check-in waiting", "yellow"),
    NotificationKind.NOTIFICATION_KIND_CHECK_IN_ESCALATED: ("check-in waiting", "yellow"),
    NotificationKind.NOTIFICATION_KIND_CHECK_INS_MISSED: ("check-ins missed", "magenta"),
}


def number(text: str) -> str:
    """A decimal with its thousands set apart and without idle zeros: `2100000.50` is `2 100 000.5`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    plain = format(value, ",f").replace(",", " ")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
    if len(digits.partition(".")[0]) == len("1 234"):
        digits = digits.replace(" ", "")  # four digits read well as they are
    return sign + digits


def measure(text: str, unit: str) -> str:
    """A value with its unit; nothing when there is no value."""
    return f"{number(text)} {unit}".rstrip() if text else ""


def value_of(key_result: BoardKeyResult) -> str:
    """Its latest value as its type has it: with its unit, as a share, as done or not, as a zone."""
    value = key_result.value
    if not value:
        return ""
    match key_result.type:
        case "milestone":
            return percent(value)
        case "binary":
            return "done" if Decimal(value) == 1 else "not done"
        case "ordinal":
            return ZONES.get(number(value), number(value))
        case _:
            return measure(value, key_result.unit)


def mark(key_result: BoardKeyResult, value: str) -> str:
    """A start, commit or target as its type has it; nothing where that says nothing."""
    match key_result.type:
        case "maintain" if value == key_result.target:
            return within(key_result.low, key_result.high)
        case "maintain" | "milestone":
            return "" if value == key_result.start else percent(value)
        case "binary" | "baseline" | "ordinal":
            return ""
        case _:
            return number(value) if value else ""


def within(low: str, high: str) -> str:
    """A range, one side of which may be open."""
    if low and high:
        return f"{number(low)} to {number(high)}"
    return f"≥ {number(low)}" if low else f"≤ {number(high)}"


def percent(ratio: str) -> str:
    """A ratio as whole percent; 100 % only when it is reached."""
    if not ratio:
        return ""
    value = Decimal(ratio)
    whole = (value * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP)
    return "99 %" if whole >= 100 and value < 1 else f"{whole} %"


def confidence(text: str) -> str:
    """0 to 10, as people say it."""
    if not text:
        return ""
    return number(str((Decimal(text) * 10).quantize(Decimal("0.1"), rounding=ROUND_HALF_UP)))


def pace_word(pace: int) -> str:
    return PACES.get(Pace.ValueType(pace), ("", ""))[0]


def pace(value: int, days: str = "") -> Cell:
    word, style = PACES.get(Pace.ValueType(value), ("", ""))
    if days and value in (Pace.PACE_AHEAD, Pace.PACE_BEHIND, Pace.PACE_FAR_BEHIND):
        whole = Decimal(days).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        word = f"{word} {whole:+} d"
    return Cell(word, style)


def moment(text: str) -> datetime | None:
    """A moment of a contract (RFC 3339), where the command runs."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    except ValueError:
        return None


def age(text: str, now: datetime) -> str:
    """How long ago: `today`, `3 d`, `5 w`."""
    then = moment(text)
    if then is None:
        return ""
    days = (now.astimezone(then.tzinfo).date() - then.date()) // timedelta(days=1)
    if days <= 0:
        return "today"
    return f"{days} d" if days < 70 else f"{days // 7} w"


def by_when(duty: Duty, today: date) -> Cell:
    """The duty at hand: what is due when, or how old what is known has become. It tells, and scolds nobody."""
    due_on, closes_on = date.fromisoformat(duty.due_on), date.fromisoformat(duty.closes_on)
    following = f"next on {short_day(date.fromisoformat(duty.next_due_on))}" if duty.next_due_on else "the last one"
    match duty.state:
        case DutyState.DUTY_STATE_ON_TIME:
            return Cell(f"done; {following}", "green")
        case DutyState.DUTY_STATE_LATE:
            return Cell(f"done, a little late; {following}", "green")
        case DutyState.DUTY_STATE_DUE:
            return Cell("due today", "cyan")
        case DutyState.DUTY_STATE_OVERDUE:
            return Cell(f"was due on {short_day(due_on)}, counts until {short_day(closes_on)}", "yellow")
        case DutyState.DUTY_STATE_STALE:
            return Cell(f"stale since {short_day(closes_on + timedelta(days=1))}; {following}", "magenta")
        case DutyState.DUTY_STATE_MISSED:
            return Cell(f"missed on {short_day(due_on)}; {following}", "magenta")
        case _:
            days = (due_on - today).days
            return Cell("due tomorrow" if days == 1 else f"due in {plural(days, 'day')}")


def short_day(value: date) -> str:
    return f"{value.day} {value:%b}"


def day(text: str) -> str:
    then = moment(text)
    return f"{then:%Y-%m-%d}" if then else text


def minute(text: str) -> str:
    then = moment(text)
    return f"{then:%Y-%m-%d %H:%M}" if then else text


def rfc3339(value: datetime) -> str:
    """A moment as contracts carry it."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def spaced(name: str) -> str:
    """An event's type in words: `KeyResultOpened` is `key result opened`."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name).strip()


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
