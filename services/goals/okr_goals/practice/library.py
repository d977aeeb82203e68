"""The library of templates, read once from the files beside this module. Their numbers are samples."""

import tomllib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct

from okr_contracts.goals import Indicator, KeyResultType, Measurement, TemplateKeyResult
from okr_rules.commitment import direction_of
from okr_rules.words import plain


class Template(Struct, frozen=True):
    """An objective to begin with. `serves` is the outcome it contributes to, in a sentence."""

    template_id: str
    industry: str
    function: str
    objective: str
    serves: str
    key_results: tuple[TemplateKeyResult, ...]
    own: bool = False


class _KeyResult(Struct, forbid_unknown_fields=True):
    title: str
    unit: str
    type: KeyResultType | None = None
    start: Decimal | None = None
    commit: Decimal | None = None
    target: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    tolerance: Decimal | None = None
    indicator: Indicator | None = None
    guard_rail: bool = False


class _Template(Struct, forbid_unknown_fields=True):
    id: str
    function: str
    objective: str
    serves: str
    key_result: list[_KeyResult]


class _File(Struct, forbid_unknown_fields=True):
    industry: str
    template: list[_Template]


@cache
def library() -> Sequence[Template]:
    """All of them, by industry and id."""
    found = []
    for path in files(__package__).joinpath("templates").iterdir():
        if path.name.endswith(".toml"):
            said = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
            found += [_template(said.industry, each) for each in said.template]
    return sorted(found, key=lambda template: (template.industry, template.template_id))


def matching(templates: Iterable[Template], search: str, industry: str, function: str) -> list[Template]:
    """Those that hold every word searched for, in whatever they say, and are of the industry and function named."""
    wanted = plain(search).split()
    return [
        template
        for template in templates
        if all(word in _text(template) for word in wanted)
        and (not industry or plain(industry) == plain(template.industry))
        and (not function or plain(function) == plain(template.function))
    ]


def _text(template: Template) -> str:
    """All that can be searched for."""
    said = (template.template_id, template.industry, template.function, template.objective, template.serves)
    return plain(" ".join([*said, *(key_result.title for key_result in template.key_results)]))


def _template(industry: str, said: _Template) -> Template:
    return Template(
        template_id=said.id,
        industry=industry,
        function=said.function,
        objective=said.objective,
        serves=said.serves,
        key_results=tuple(_key_result(each) for each in said.key_result),
    )


def _key_result(said: _KeyResult) -> TemplateKeyResult:
    type_ = said.type
    if type_ is None and said.start is not None and said.target is not None:
        type_ = direction_of(said.start, said.target)
    if type_ is None:
        raise ValueError(f"{said.title}: neither a type nor a way from start to target is given")
    return TemplateKeyResult(
        title=said.title,
        type=type_,
        unit=said.unit,
        start=said.start,
        commit=said.commit,
        target=said.target,
        measurement=Measurement(
            low=said.low,
            high=said.high,
            tolerance=said.tolerance,
            indicator=said.indicator,
            guard_rail=said.guard_rail,
            ambition="committed" if said.guard_rail else None,
        ),
    )
