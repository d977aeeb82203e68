"""What a key result came to at the end of its cycle, whatever its kind: the score that the rules compute."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from okr_rules.commitment import Ambition, Zone, ambition_of, plain, zone
from okr_rules.exact import ONE, ZERO, four_places
from okr_rules.expectation import midnight
from okr_rules.grading import score
from okr_rules.maintain import share_inside
from okr_rules.measure import ORDINAL_ZONES, Measure
from okr_rules.parameters import DEFAULTS, RuleParameters
from okr_rules.progress import percent
from okr_rules.series import Reading, in_order

_ZONES: tuple[Zone, ...] = ("below_commit", "commit", "target", "stretch")
ZONE_WORDS: dict[Zone, str] = {
    "below_commit": "below its commit",
    "commit": "commit reached",
    "target": "target reached",
    "stretch": "stretch reached",
}


@dataclass(frozen=True)
class Outcome:
    """A computed score (0 to 1, four places) with all it rests on.

    `value` is the last one of the cycle, in the key result's own unit; of a maintain key result it is the
    share of the time spent inside its range. None: nothing was ever measured.
    """

    score: Decimal
    zone: Zone
    value: Decimal | None
    measure: Measure
    ambition: Ambition
    parameters: RuleParameters

    def explain(self) -> str:
        """Why the score is what it is: the rule, its version, its inputs."""
        rule = f"rule grading, version {self.parameters.version}"
        if self.value is None:
            return f"Nothing was measured before the end, so it counts as not begun: 0 ({rule})."
        measure, value = self.measure, f"{plain(self.value):f}"
        scored = f"{ZONE_WORDS[self.zone]}, score {plain(self.score):f} ({rule})."
        match measure.kind:
            case "maintain":
                kept = measure.range.words if measure.range is not None else "in its range"
                promised = f"{percent(measure.commit)} promised, {percent(measure.target)} hoped for"
                return f"{percent(self.value)} of the time {kept}; {promised}: {scored}"
            case "milestone":
                return f"{percent(self.value)} of the milestones by weight: {scored}"
            case "binary":
                return f"{'Done' if self.value >= ONE else 'Not done'}: {scored}"
            case "baseline":
                return f"The value was found, {value}: {scored}"
            case "ordinal":
                return f"Zone {value} of 0 to 3: {scored}"
            case _:
                marks = f"start {plain(measure.start):f}, commit {plain(measure.commit):f}"
                if self.ambition == "committed":
                    return f"It ended at {value}; {marks}, promised as a whole: {scored}"
                stretch = "" if measure.stretch is None else f", stretch {plain(measure.stretch):f}"
                return f"It ended at {value}; {marks}, target {plain(measure.target):f}{stretch}: {scored}"


def outcome_of(
    measure: Measure,
    readings: Sequence[Reading],
    until: datetime,
    *,
    ambition: Ambition | None = None,
    parameters: RuleParameters = DEFAULTS,
) -> Outcome:
    """The score by the last value before `until`, the end of the cycle; what came after it does not count.

    Ways run through their anchors, milestones and what is done or not count as far as they came, zones in
    words have a score each, and a range is judged by the share of the time that was spent in it.
    """
    meant = ambition or ambition_of(measure.commit, measure.target)
    ordered = in_order(reading for reading in readings if reading.at < until)
    value = ordered[-1].value if ordered else None
    if measure.kind == "maintain" and measure.range is not None:
        value = share_inside(measure.range, ordered, midnight(measure.starts_on), until)
    if value is None:
        return Outcome(four_places(ZERO), "below_commit", None, measure, meant, parameters)
    reached: Zone
    match measure.kind:
        case "milestone":
            computed, reached = measure.progress(value), zone(ZERO, measure.commit, measure.target, value)
        case "binary" | "baseline":
            computed = measure.progress(value)
            reached = "target" if computed == ONE else "below_commit"
        case "ordinal":
            place = min(max(int(value), 0), len(ORDINAL_ZONES) - 1)
            computed = (ZERO, parameters.commit_score, parameters.target_score, ONE)[place]
            reached = _ZONES[place]
        case _:
            marks = (measure.start, measure.commit, measure.target, value)
            computed = score(*marks, stretch=measure.stretch, ambition=meant, parameters=parameters)
            reached = zone(*marks, stretch=measure.stretch)
    return Outcome(four_places(computed), reached, value, measure, meant, parameters)
