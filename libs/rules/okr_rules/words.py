"""Short lists of words, in English and German, by which rules of good practice read titles and notes.

They make suggestions, so a list may be short; what it catches should be right.
"""

import re
import unicodedata


def _list(text: str) -> frozenset[str]:
    return frozenset(text.split())


DELIVERY_VERBS = _list("launch implement migrate introduce install organise organize execute")
DELIVERY_VERBS_WITH_OBJECT = _list(
    "build ship deliver deploy release complete finish create develop publish conduct roll"
)
"""These begin many a good objective too ("Deliver in full and on time", "Complete trust"), so it takes one of
OBJECTS behind them."""
OBJECTS = _list("a an the our your its this these new all another first second two three out version")
DELIVERY_VERBS_AT_THE_END = _list(
    "einführen umsetzen migrieren ausrollen veröffentlichen erstellen fertigstellen implementieren"
)
"""Where German has its verb."""
ACTIVITIES = _list(
    """calls posts meetings workshops emails demos interviews articles trainings
    anrufe termine meetings schulungen"""
)
"""What we do, counted, and only in the plural: a "post" or a "call" is too often part of something else."""
EFFECT_WORDS = _list(
    """rate share conversion converted won retention revenue pipeline bring brings brought rated time duration
    without satisfaction score per quote anteil umsatz zeit dauer ohne zufriedenheit pro je %"""
)
_SPEED = re.compile(r"\b(?:lead time|cycle time|time to|turnaround|durchlaufzeit)s?\b")
_VOLUME = re.compile(r"\b(?:throughput|output|volume)s?\b")
QUALITY_WORDS = _list(
    """quality safety safe failure failures defect defects error errors incident incidents rework scrap satisfaction
    availability accident accidents complaint complaints rating score tickets vulnerabilities retention readmission
    qualität sicherheit fehler unfälle ausschuss nacharbeit zufriedenheit beschwerden reklamationen"""
)
BLAME = (
    r"\b(?:he|she|you) (?:failed|forgot|refused)\b",
    r"\b(?:he|she|they|you) (?:messed up|screwed up|dropped the ball)\b",
    r"\b(?:fault of|because of|thanks to) (?:his|her|their|your) (?:mistake|laziness|incompetence|failure)\b",
    r"(?<!not )\b(?:his|her|their|your) (?:own )?fault\b(?![- ](?:toleran|line|rate|report|handling))",
    r"\b(?:he|she|they) (?:is|was|are|were) useless\b",
    r"\b(?:incompetent|careless)\b",
    r"\blazy\b(?![- ](?:load|eval|init|import|fetch))",
    r"\bwhose fault\b",
    r"\b(?:er|sie|ihr) (?:hat|haben|habt) es vermasselt\b",
    r"\bihr habt versagt\b",
    r"(?<!nicht )\b(?:seine|ihre|eure) schuld\b",
    r"\b(?:faul|schlampig)\b",
    r"\bunfähig\b(?!,)",
)
"""Things fail and forget as well, and "they never complain" is praise: it takes a person, or a word for one."""
_BLAME = re.compile("|".join(BLAME), re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w/.,-])(?!20[2-5]\d\b(?! ?%)|24/7)\d+(?:[.,]\d+)*(?![^\W_]|/)")
_WORD = re.compile(r"[^\W\d_]+|%", re.UNICODE)


def plain(text: str) -> str:
    """Lower case, single spaces, composed letters: so that two spellings of the same compare equal."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words_of(text: str) -> list[str]:
    return _WORD.findall(plain(text))


def delivery_in(title: str) -> str:
    """The verb by which a title says what will be delivered; empty for none."""
    first, second, *_ = [*words_of(title), "", ""]
    if first in DELIVERY_VERBS or (first in DELIVERY_VERBS_WITH_OBJECT and second in OBJECTS):
        return first
    last = words_of(title)[-1:]
    return last[0] if last and "," not in title and last[0] in DELIVERY_VERBS_AT_THE_END else ""


def number_in(title: str) -> str:
    """A number that could be measured; not a year, nor one that belongs to a name, as in B2B or 24/7."""
    found = _NUMBER.search(title)
    return found.group(0) if found else ""


def same(one: str, other: str) -> bool:
    """Whether two titles say the same, but for case, punctuation and order of words."""
    return plain(one) == plain(other) or sorted(words_of(one)) == sorted(words_of(other)) != []


def activity_in(title: str, unit: str) -> str:
    """The activity a title counts, where nothing in it speaks of an effect; empty for none."""
    found = words_of(title)
    if EFFECT_WORDS & {*found, *words_of(unit)}:
        return ""
    return next((word for word in found if word in ACTIVITIES), "")


def is_quality(title: str) -> bool:
    return bool(QUALITY_WORDS & set(words_of(title)))


def is_speed_or_volume(title: str, unit: str, *, falls: bool = False) -> bool:
    """Less volume is not bought with quality, so of what `falls` only speed is meant."""
    text = f"{plain(title)} {plain(unit)}"
    return not is_quality(title) and bool(_SPEED.search(text) or (not falls and _VOLUME.search(text)))


def blaming(text: str) -> list[str]:
    """The passages that blame somebody, as they were written."""
    return [match.group(0) for match in _BLAME.finditer(text)]
