"""Good practice, checked: what keeps an objective from being published, what it should think of, and why.

All findings of a draft come at once. Each names its rule, why there is such a rule, and a weak and a
strong example. Most can be overridden once, with a reason; those that make numbers meaningless cannot.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from okr_rules import words
from okr_rules.commitment import Ambition, order_fault
from okr_rules.measure import Kind
from okr_rules.milestones import weights_fault
from okr_rules.parameters import DEFAULTS, RuleParameters

Severity = Literal["error", "warning", "hint"]
Indicator = Literal["leading", "lagging"]

MOVING: frozenset[Kind] = frozenset(("increase", "decrease"))
"""Kinds that cover a way, and so need a unit, a start and a target."""


@dataclass(frozen=True)
class DraftKeyResult:
    """What a draft says of a key result; None and empty for what it does not say yet."""

    id: str
    title: str
    kind: Kind
    unit: str = ""
    start: Decimal | None = None
    commit: Decimal | None = None
    target: Decimal | None = None
    stretch: Decimal | None = None
    ambition: Ambition | None = None
    indicator: Indicator | None = None
    guard_rail: bool = False
    milestone_weights: tuple[Decimal, ...] = ()
    accountable: tuple[str, ...] = ()
    """Everybody who is said to be accountable; there should be one."""
    update_days: int | None = None
    """How often its source has a new value, in days."""
    metric: str = ""
    """The name of the metric it claims, where it claims one."""
    confidence: Decimal | None = None


@dataclass(frozen=True)
class DraftObjective:
    """What a draft says of an objective, and what its surroundings are."""

    id: str
    title: str
    owner: str | None
    cycle: str | None
    unit: str | None
    key_results: tuple[DraftKeyResult, ...] = ()
    top_level: bool = False
    has_parent: bool = False
    stated_reason: str = ""
    """Why it has no parent, in somebody's words."""
    parent_title: str = ""
    first_cycle: bool = False
    objectives_of_unit: int = 1
    """How many objectives its unit has in this cycle, itself included."""
    cadence_days: int = 14
    accountable_elsewhere: dict[str, int] = field(default_factory=dict)
    """Person → for how many other key results of this cycle."""
    metrics_elsewhere: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rule:
    """One rule of good practice. `binding` ones cannot be overridden."""

    id: str
    why: str
    weak: str
    strong: str
    binding: bool = False


@dataclass(frozen=True)
class Finding:
    """What a rule found. `subject` is the id of the objective or key result it is about."""

    rule: Rule
    severity: Severity
    subject: str
    message: str
    version: str

    @property
    def blocks(self) -> bool:
        return self.severity == "error"


_Found = tuple[Severity, str, str]
"""Severity, subject, message."""

_Check = Callable[[DraftObjective, RuleParameters], Iterator[_Found]]

_CHECKS: list[tuple[Rule, _Check]] = []


def _rule(id_: str, why: str, weak: str, strong: str, *, binding: bool = False) -> Callable[[_Check], _Check]:
    def keep(check: _Check) -> _Check:
        _CHECKS.append((Rule(id_, why, weak, strong, binding), check))
        return check

    return keep


def lint(
    objective: DraftObjective, *, overridden: Collection[tuple[str, str]] = (), parameters: RuleParameters = DEFAULTS
) -> list[Finding]:
    """Everything to be said about a draft, errors first, each in the order of the rules.

    `overridden` are (rule id, subject) pairs that somebody has given a reason for; binding rules stay.
    """
    found = [
        Finding(rule, severity, subject, message, parameters.version)
        for rule, check in _CHECKS
        for severity, subject, message in check(objective, parameters)
        if rule.binding or (rule.id, subject) not in overridden
    ]
    order = {"error": 0, "warning": 1, "hint": 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def rules() -> list[Rule]:
    """All of them, in their order."""
    return [rule for rule, _ in _CHECKS]


# --- objectives ----------------------------------------------------------------------------------


@_rule(
    "O1",
    "Nobody moves what belongs to nobody, to no time and to no team.",
    "Happier customers (no owner)",
    "Happier customers: owned by Ines, support team, 2026 Q2",
    binding=True,
)
def _belongs(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for what, given in (("an owner", objective.owner), ("a cycle", objective.cycle), ("a unit", objective.unit)):
        if not given:
            yield "error", objective.id, f"the objective needs {what}"


@_rule(
    "O2",
    "An objective says what will be better, not what will be delivered: the delivery can succeed and change nothing.",
    "Launch the new help centre",
    "Customers find answers without waiting for us",
)
def _outcome(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    if verb := words.delivery_in(objective.title):
        yield "warning", objective.id, f"it asks to “{verb}”: what will be better once that is done?"


@_rule(
    "O3",
    "Numbers belong to key results, which can be measured and revised; the objective says why they matter.",
    "Grow revenue by 20 %",
    "Growth we can plan with",
)
def _no_digits(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    if number := words.number_in(objective.title):
        yield "warning", objective.id, f"it holds the number {number}: let a key result measure it"


@_rule(
    "O4",
    "A title that fits into one breath is remembered; one of two words says nothing that a team could argue about.",
    "Quality",
    "Releases that customers can rely on",
)
def _length(objective: DraftObjective, parameters: RuleParameters) -> Iterator[_Found]:
    count = len(objective.title.split())
    if not parameters.title_words_at_least <= count <= parameters.title_words_to:
        span = f"{parameters.title_words_at_least} to {parameters.title_words_to} words"
        yield "warning", objective.id, f"it has {count} {'word' if count == 1 else 'words'}; {span} read best"


@_rule(
    "O5",
    "Whoever has many goals has none: each one more takes attention from those that matter most.",
    "Nine objectives for a team of six",
    "Three objectives, and a list of what waits",
)
def _few(objective: DraftObjective, parameters: RuleParameters) -> Iterator[_Found]:
    count, limit = objective.objectives_of_unit, parameters.objectives_per_team
    if count > parameters.objectives_at_most:
        yield "error", objective.id, f"its unit has {count} objectives; {parameters.objectives_at_most} are the most"
    elif count > limit:
        yield "warning", objective.id, f"its unit has {count} objectives; {limit} leave room to reach them"


@_rule(
    "O6",
    "People stay with what they see the purpose of: whom does this serve?",
    "An objective that stands alone",
    "It contributes to “Customers stay and grow with us”, or says why nothing above fits",
)
def _serves(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    if not objective.top_level and not objective.has_parent and not objective.stated_reason.strip():
        severity: Severity = "warning" if objective.first_cycle else "error"
        yield severity, objective.id, "it contributes to no objective and gives no reason"


@_rule(
    "O7",
    "A copied objective only moves the work downwards; a contribution says what this team adds.",
    "Parent and child both: “Customers stay and grow with us”",
    "Child: “New users see value in their first week”",
)
def _own_words(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    if objective.parent_title and words.same(objective.title, objective.parent_title):
        yield "hint", objective.id, "it says the same as the objective it contributes to"


# --- key results ---------------------------------------------------------------------------------


@_rule(
    "K1",
    "One number is easily gamed and many are no longer steered by: two to five tell the whole story.",
    "One objective, eleven key results",
    "Three key results: one early sign, one result, one guard-rail",
)
def _enough(objective: DraftObjective, parameters: RuleParameters) -> Iterator[_Found]:
    count = len(objective.key_results)
    if count == 0:
        yield "error", objective.id, "it has no key result: how would anybody see that it is reached?"
    elif count > parameters.key_results_at_most:
        yield "error", objective.id, f"it has {count} key results; {parameters.key_results_at_most} are the most"
    elif not parameters.key_results_at_least <= count <= parameters.key_results_to:
        span = f"{parameters.key_results_at_least} to {parameters.key_results_to}"
        yield (
            "warning",
            objective.id,
            f"it has {count} {'key result' if count == 1 else 'key results'}; {span} are best",
        )


@_rule(
    "K2",
    "What has no unit, no start and no target cannot be seen to move.",
    "Improve response times",
    "Median response time from 9 h to 4 h",
)
def _measurable(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for each in objective.key_results:
        missing = []
        if each.kind in MOVING:
            missing = [
                name
                for name, given in (("a unit", each.unit), ("a start", each.start), ("a target", each.target))
                if given is None or given == ""
            ]
        elif each.kind == "maintain" and not each.unit:
            missing = ["a unit"]
        if missing:
            yield "error", each.id, f"it needs {' and '.join(missing)}"


@_rule(
    "K3",
    "Progress is the way covered from start to target: where there is no way, there is no progress.",
    "Availability from 99.9 % to 99.9 %",
    "Availability kept between 99.9 % and 100 %",
    binding=True,
)
def _has_a_way(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for each in objective.key_results:
        if each.kind in MOVING and each.start is not None and each.start == each.target:
            yield "error", each.id, f"start and target are both {each.start:f}; to keep a value, choose a range"
        if each.kind == "milestone" and (fault := weights_fault(each.milestone_weights)):
            yield "error", each.id, fault


@_rule(
    "K4",
    "The promise lies on the way to the hope: start, commit, target, stretch, in this order.",
    "From 40, commit 70, target 60",
    "From 40, commit 50, target 60",
    binding=True,
)
def _in_order(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for each in objective.key_results:
        if each.kind not in MOVING or each.start is None or each.target is None or each.commit is None:
            continue
        if (
            fault := order_fault(each.start, each.commit, each.target, each.stretch)
        ) and fault != "START_EQUALS_TARGET":
            marks = f"{each.start:f}, {each.commit:f}, {each.target:f}"
            yield "error", each.id, f"start, commit, target are {marks}: {fault.lower().replace('_', ' ')}"


@_rule(
    "K5",
    "Activity can be busy without effect. Count it only beside what it is meant to change.",
    "Hold 40 customer calls",
    "Accounts that renew after a call from 60 to 75 %",
)
def _effect(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for each in objective.key_results:
        less_is_better = each.kind in ("decrease", "maintain")
        if not less_is_better and (counted := words.activity_in(each.title, each.unit)):
            yield "warning", each.id, f"it counts {counted}: what changes when there are more of them?"


@_rule(
    "K6",
    "Late signs say whether it worked, early signs say it in time to act. An objective needs both.",
    "Revenue, profit and renewals, all known in July",
    "Trials started (early) and renewals (late)",
)
def _both_ends(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    signs = {each.indicator for each in objective.key_results}
    if len(objective.key_results) > 1 and len(signs) == 1 and (only := next(iter(signs))) is not None:
        other = "early sign" if only == "lagging" else "late sign"
        yield "warning", objective.id, f"all its key results are {only}; add an {other}".replace("an late", "a late")


@_rule(
    "K7",
    "Speed is easily bought with quality or safety, unless somebody watches them.",
    "Lead time from 9 to 3 days, alone",
    "Lead time from 9 to 3 days, beside a change-failure rate of at most 12 %",
)
def _balanced(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    guarded = any(each.guard_rail or words.is_quality(each.title) for each in objective.key_results)
    for each in objective.key_results:
        if not guarded and words.is_speed_or_volume(each.title, each.unit, falls=each.kind == "decrease"):
            yield "warning", each.id, "it measures speed or volume, and nothing beside it measures quality or safety"


@_rule(
    "K8",
    "Where several answer for a number, nobody does. Several may be responsible; one is accountable.",
    "Champions: Ana and Ben, both accountable",
    "Ana is accountable, Ben and the data team are responsible",
)
def _one_accountable(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for each in objective.key_results:
        if len(each.accountable) != 1:
            found = "nobody" if not each.accountable else f"{len(each.accountable)} people"
            yield "error", each.id, f"one champion is accountable for a key result, found {found}"


@_rule(
    "K9",
    "A number that comes more rarely than check-ins cannot be steered by: find an earlier sign of it.",
    "A yearly survey, checked in every other week",
    "A pulse question every week",
)
def _fresh(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for each in objective.key_results:
        if each.update_days is not None and each.update_days > objective.cadence_days:
            yield (
                "warning",
                each.id,
                f"it is updated every {each.update_days} days, checked in every {objective.cadence_days}",
            )


@_rule(
    "K10",
    "Nobody is asked to stretch safety: a guard-rail is promised, and kept.",
    "Accidents: commit 2, target 0",
    "Accidents: commit and target 0",
    binding=True,
)
def _guard_rails_hold(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    for each in objective.key_results:
        if each.guard_rail and each.ambition != "committed":
            yield "error", each.id, "a guard-rail is committed: its commit is its target"
        if each.kind == "binary" and each.ambition == "aspirational":
            yield "error", each.id, "what is done or not done is committed; to stretch, measure how far it goes"


@_rule(
    "K11",
    "Who answers for everything answers for nothing in time.",
    "Ines is accountable for nine key results",
    "Ines is accountable for three, and has found champions for the others",
)
def _not_all_on_one(objective: DraftObjective, parameters: RuleParameters) -> Iterator[_Found]:
    here = Counter(person for each in objective.key_results for person in each.accountable)
    for person, count in here.items():
        total = count + objective.accountable_elsewhere.get(person, 0)
        if total > parameters.accountable_for_at_most:
            yield "warning", objective.id, f"one person is accountable for {total} key results of this cycle"


@_rule(
    "K12",
    "Two teams that claim one number both celebrate it and neither can tell what it did.",
    "Two teams, both: sign-ups from 500 to 800",
    "Sign-ups by referral, sign-ups by search",
)
def _own_metric(objective: DraftObjective, _: RuleParameters) -> Iterator[_Found]:
    mine = Counter(words.plain(each.metric) for each in objective.key_results if each.metric)
    claimed = {words.plain(metric) for metric in objective.metrics_elsewhere}
    for each in objective.key_results:
        name = words.plain(each.metric)
        if each.metric and (name in claimed or mine[name] > 1):
            yield "warning", each.id, f"another key result claims “{each.metric}” as well"


@_rule(
    "K13",
    "Sure of everything, one has aimed low; sure of nothing, one has dreamt.",
    "Confidence of all stretch targets: 0.95",
    "About 0.5: as likely as not",
)
def _honest_odds(objective: DraftObjective, parameters: RuleParameters) -> Iterator[_Found]:
    stated = [
        each.confidence
        for each in objective.key_results
        if each.ambition == "aspirational" and each.confidence is not None
    ]
    if not stated:
        return
    mean = sum(stated, Decimal(0)) / len(stated)
    if mean > parameters.sandbagging_above:
        yield "hint", objective.id, f"the mean confidence in its targets is {mean:.2f}: could they reach further?"
    elif mean < parameters.fantasy_below:
        yield "hint", objective.id, f"the mean confidence in its targets is {mean:.2f}: are they within reach?"


# --- words people write in check-ins and retrospectives ------------------------------------------


def blame_in(text: str) -> list[str]:
    """Wording that blames a person, as it stands in the text: to be suggested against, never refused."""
    return words.blaming(text)


# --- simplicity ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Complexity:
    """What a unit's planning weighs, and what to drop first when that is much."""

    index: Decimal
    parts: tuple[tuple[str, Decimal], ...]
    hint: str = ""
    version: str = DEFAULTS.version


def complexity(
    objectives: int,
    key_results: int,
    weights: int,
    custom_fields: int,
    alignment_depth: int,
    parameters: RuleParameters = DEFAULTS,
) -> Complexity:
    """A unit's objectives, half its key results, its own weights and fields, and the levels of alignment beyond
    those that are free."""
    parts: Sequence[tuple[str, Decimal]] = (
        ("objectives", Decimal(objectives)),
        ("key results", Decimal(key_results) / 2),
        ("weights", Decimal(weights)),
        ("custom fields", Decimal(custom_fields)),
        ("levels of alignment", Decimal(max(0, alignment_depth - parameters.alignment_depth_free))),
    )
    index = sum((amount for _, amount in parts), Decimal(0))
    hint = ""
    if index > parameters.complexity_hint_above:
        # What helps nobody to reach anything goes first, the goals themselves last.
        droppable = [*parts[:1:-1], *parts[1::-1]]
        name = next((name for name, amount in droppable[:3] if amount > 0), max(parts[:2], key=lambda part: part[1])[0])
        hint = f"planning weighs {index:f}, more than {parameters.complexity_hint_above:f}: drop {name} first"
    return Complexity(index, tuple(parts), hint, parameters.version)


def blocking(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep an objective from being published."""
    return [finding for finding in findings if finding.blocks]
