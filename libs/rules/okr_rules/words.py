"""Short lists of words, in English and German, by which rules of good practice read titles and notes.

They make suggestions, so a list may be short; what it catches should be right.
"""

import re
import unicodedata


def _list(text: str) -> frozenset[str]:
    return frozenset(text.split())


DELIVERY_VERBS = _list(
    """launch build roll ship deliver implement migrate deploy release introduce install complete finish create
    develop
    publish organise organize conduct execute
    einführen bauen liefern umsetzen migrieren ausrollen entwickeln veröffentlichen erstellen fertigstellen"""
)
ACTIVITIES = _list(
    """calls call posts post meetings meeting workshops workshop emails email demos demo interviews visits articles
    trainings sessions
    anrufe termine meetings beiträge besuche schulungen"""
)
EFFECT_WORDS = _list(
    """rate share conversion converted won retention revenue pipeline bring brings brought quote anteil umsatz %
    satisfaction score per"""
)
SPEED_PHRASES = ("lead time", "cycle time", "time to", "turnaround", "throughput", "output", "volume", "durchlaufzeit")
QUALITY_WORDS = _list(
    """quality safety safe failure failures defect defects error errors incident incidents rework scrap satisfaction
    availability accident accidents complaint complaints rating vulnerabilities retention readmission
    qualität sicherheit fehler unfälle ausschuss nacharbeit zufriedenheit"""
)
BLAME = (
    r"\b(?:he|she|they|you) (?:failed|messed up|screwed up|dropped the ball|never|always|forgot|refused)\b",
    r"\b(?:fault of|because of|thanks to) (?:his|her|their|your) (?:mistake|laziness|incompetence|failure)\b",
    r"\b(?:his|her|their|your) (?:own )?fault\b",
    r"\b(?:lazy|incompetent|useless|careless)\b",
    r"\bwhose fault\b",
    r"\b(?:er|sie|ihr) (?:hat|haben|habt) (?:versagt|es vermasselt|nie|immer)\b",
    r"\b(?:seine|ihre|eure) schuld\b",
    r"\b(?:faul|unfähig|schlampig)\b",
)
_BLAME = re.compile("|".join(BLAME), re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+|%", re.UNICODE)


def plain(text: str) -> str:
    """Lower case, single spaces, composed letters: so that two spellings of the same compare equal."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words_of(text: str) -> list[str]:
    return _WORD.findall(plain(text))


def first_word(text: str) -> str:
    found = words_of(text)
    return found[0] if found else ""


def same(one: str, other: str) -> bool:
    """Whether two titles say the same, but for case, punctuation and order of words."""
    return sorted(words_of(one)) == sorted(words_of(other))


def activity_in(title: str, unit: str) -> str:
    """The activity a title counts, where nothing in it speaks of an effect; empty for none."""
    found = words_of(title)
    if EFFECT_WORDS & {*found, *words_of(unit)}:
        return ""
    return next((word for word in found if word in ACTIVITIES), "")


def is_quality(title: str) -> bool:
    return bool(QUALITY_WORDS & set(words_of(title)))


def is_speed_or_volume(title: str, unit: str) -> bool:
    text = f"{plain(title)} {plain(unit)}"
    return not is_quality(title) and any(phrase in text for phrase in SPEED_PHRASES)


def blaming(text: str) -> list[str]:
    """The passages that blame somebody, as they were written."""
    return [match.group(0) for match in _BLAME.finditer(text)]
