"""Templates that an organisation makes of its own objectives."""

from typing import assert_never

from msgspec import Struct
from pydantic import BaseModel, InstanceOf

from okr_chassis.rpc.fields import Id, Name
from okr_contracts.goals import TemplateKeyResult, TemplateSaved
from okr_eventstore.decider import Decider


class SaveTemplate(BaseModel, frozen=True):
    """What the objective looked like when this was asked is part of it: the template stays as it was saved."""

    template_id: Id
    industry: Name
    function: Name
    objective: str
    serves: str
    key_results: tuple[InstanceOf[TemplateKeyResult], ...]


class Template(Struct, frozen=True):
    saved: TemplateSaved | None = None


def decide(state: Template, command: SaveTemplate) -> list[TemplateSaved]:
    match command:
        case SaveTemplate():
            saved = TemplateSaved(
                template_id=command.template_id,
                industry=command.industry,
                function=command.function,
                objective=command.objective,
                serves=command.serves,
                key_results=command.key_results,
            )
            return [] if saved == state.saved else [saved]
        case _:
            assert_never(command)


def evolve(state: Template, event: TemplateSaved) -> Template:
    return Template(event)


templates: Decider[Template, SaveTemplate, TemplateSaved] = Decider(
    category="template", initial=Template(), decide=decide, evolve=evolve
)
