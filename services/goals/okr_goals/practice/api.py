"""The gRPC side of good practice: findings, overrides, templates."""

from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from grpc import aio
from pydantic import BaseModel

from okr.goals.v1 import practice_pb2 as pb
from okr.goals.v1 import practice_pb2_grpc
from okr_chassis.identity.auth import caller
from okr_chassis.news import News
from okr_chassis.rpc.commands import Execute
from okr_chassis.rpc.fields import Id, Name, uuid_in
from okr_chassis.rpc.messages import accept, id_of, receipt, wire
from okr_chassis.sealing import Vault
from okr_chassis.service import Reader
from okr_contracts.errors import DomainError, NotFoundError
from okr_contracts.goals import TemplateKeyResult
from okr_eventstore.model import Done
from okr_goals import read_model
from okr_goals.acquaintances import Acquaintances
from okr_goals.decider.commands import ApplyTemplate, DefineKeyResult, DraftObjective, OverrideLint, OverrideSaid
from okr_goals.decider.cycle import Cycle, cycles
from okr_goals.decider.objective import Objective, objectives
from okr_goals.decider.template import SaveTemplate, templates
from okr_goals.practice import drafts
from okr_goals.practice.counsel import Counsellor
from okr_goals.practice.library import Template, library, matching
from okr_goals.practice.messages import draft_message, finding_message, practice_message, template_message
from okr_rules import lint

Context = aio.ServicerContext[Any, Any]

_key_results = msgspec.json.Decoder(tuple[TemplateKeyResult, ...])


class SaveSaid(BaseModel, frozen=True):
    """Which objective is to become a template, and under which headings."""

    template_id: Id
    objective_id: Id
    industry: Name
    function: Name


class ApplySaid(drafts.Application, frozen=True):
    objective_id: Id


class PracticeService(practice_pb2_grpc.PracticeServiceServicer):
    """Translates requests in and answers out."""

    def __init__(
        self, execute: Execute, reader: Reader, news: News, acquaintances: Acquaintances, vault: Vault
    ) -> None:
        self._execute = execute
        self._reader = reader
        self._news = news
        self._acquaintances = acquaintances
        self._vault = vault
        self._counsellor = Counsellor(reader)

    # --- what good practice says -----------------------------------------------------------------

    async def LintObjective(self, request: pb.LintObjectiveRequest, context: Context) -> pb.LintObjectiveResponse:
        objective_id = id_of(request, "objective_id")
        await self._reader.caught_up(request.min_positions)
        await self._news.all_heard()
        counsel = await self._counsellor.on_objective(objective_id)
        return pb.LintObjectiveResponse(
            findings=[finding_message(each) for each in counsel.findings],
            overridden=[finding_message(each) for each in counsel.overridden],
        )

    async def LintDraft(self, request: pb.LintDraftRequest, context: Context) -> pb.LintDraftResponse:
        await self._reader.caught_up(request.min_positions)
        drafted = accept(drafts.Drafted, request.draft)
        findings = await self._counsellor.on_draft(drafted)
        return pb.LintDraftResponse(findings=[finding_message(each) for each in findings])

    async def OverrideLint(self, request: pb.OverrideLintRequest, context: Context) -> pb.OverrideLintResponse:
        said = accept(OverrideSaid, request)
        done = await self._execute.or_as_before(request, self._override(said, request))
        return pb.OverrideLintResponse(receipt=receipt(done))

    async def ListPractices(self, request: pb.ListPracticesRequest, context: Context) -> pb.ListPracticesResponse:
        return pb.ListPracticesResponse(practices=[practice_message(rule) for rule in lint.rules()])

    async def _override(self, said: OverrideSaid, request: pb.OverrideLintRequest) -> Done:
        command = OverrideLint(
            objective_id=said.objective_id,
            rule=said.rule,
            subject_id=said.subject_id or said.objective_id,
            reason=await self._vault.seal(said.reason, said.objective_id, "reason"),
        )
        return await self._execute(objectives, objectives.stream(command.objective_id), command, request)

    # --- templates -------------------------------------------------------------------------------

    async def ListTemplates(self, request: pb.ListTemplatesRequest, context: Context) -> pb.ListTemplatesResponse:
        await self._reader.caught_up(request.min_positions)
        own = [_own(row) for row in await read_model.templates(self._reader, caller().organization_id)]
        found = matching([*library(), *own], request.search, request.industry, request.function)
        return pb.ListTemplatesResponse(templates=[template_message(each) for each in found])

    async def PreviewTemplate(self, request: pb.PreviewTemplateRequest, context: Context) -> pb.PreviewTemplateResponse:
        said = accept(drafts.Application, request)
        _, draft, key_results = await self._applied(said, UUID(int=0))
        message = draft_message(draft, key_results)
        message.parent_objective_id = request.parent_objective_id
        findings = await self._counsellor.on_draft(accept(drafts.Drafted, message))
        return pb.PreviewTemplateResponse(draft=message, findings=[finding_message(each) for each in findings])

    async def ApplyTemplate(self, request: pb.ApplyTemplateRequest, context: Context) -> pb.ApplyTemplateResponse:
        said = accept(ApplySaid, request)
        template, draft, key_results = await self._applied(said, said.objective_id)
        command = ApplyTemplate(draft=draft, template=template.template_id, key_results=key_results)
        done = await self._execute(objectives, objectives.stream(said.objective_id), command, request)
        return pb.ApplyTemplateResponse(
            key_result_ids=[wire(each.key_result_id) for each in key_results], receipt=receipt(done)
        )

    async def SaveTemplate(self, request: pb.SaveTemplateRequest, context: Context) -> pb.SaveTemplateResponse:
        said = accept(SaveSaid, request)
        state = (await self._execute.load(objectives, objectives.stream(said.objective_id))).state
        command = _template_of(said, state)
        done = await self._execute(templates, templates.stream(said.template_id), command, request)
        return pb.SaveTemplateResponse(receipt=receipt(done))

    async def _applied(
        self, said: drafts.Application, objective_id: UUID
    ) -> tuple[Template, DraftObjective, tuple[DefineKeyResult, ...]]:
        """What a template makes with somebody's numbers, for a unit and people who exist."""
        template = drafts.with_numbers(await self._template(said.template_id), said.numbers)
        accountable_id = said.accountable_id or said.owner_id
        await self._acquaintances.require_unit(said.unit_id)
        await self._acquaintances.require_people([said.owner_id, accountable_id])
        cycle: Cycle = (await self._execute.load(cycles, cycles.stream(said.cycle_id))).state
        if cycle.state == "none":
            raise NotFoundError("cycle", said.cycle_id)
        draft = DraftObjective(
            objective_id=objective_id,
            cycle_id=said.cycle_id,
            unit_id=said.unit_id,
            owner_id=said.owner_id,
            title=said.title or template.objective,
            cycle=cycle,
        )
        return template, draft, drafts.definitions(template, objective_id, accountable_id)

    async def _template(self, template_id: str) -> Template:
        """Of the library or one's own. Raises NotFoundError."""
        for template in library():
            if template.template_id.casefold() == template_id.casefold():
                return template
        own = uuid_in(template_id)
        if own is not None:
            row = await self._news.look(
                lambda: read_model.template(self._reader, caller().organization_id, own), lambda row: row is not None
            )
            if row is not None:
                return _own(row)
        raise NotFoundError("template", template_id)


def _own(row: asyncpg.Record) -> Template:
    return Template(
        template_id=str(row["template_id"]),
        industry=row["industry"],
        function=row["function"],
        objective=row["objective"],
        serves=row["serves"],
        key_results=_key_results.decode(row["key_results"]),
        own=True,
    )


def _template_of(said: SaveSaid, state: Objective) -> SaveTemplate:
    if state.drafted is None:
        raise NotFoundError("objective", said.objective_id)
    if not state.key_results:
        raise DomainError(
            "NO_KEY_RESULTS", f"{state.drafted.title!r} has no key result: there is nothing to begin with"
        )
    samples = [
        TemplateKeyResult(
            title=known.defined.title,
            type=known.defined.type,
            unit=known.defined.unit,
            start=known.defined.start,
            commit=known.commit,
            target=known.target,
            measurement=known.defined.measurement,
        )
        for known in state.key_results.values()
    ]
    return SaveTemplate(
        template_id=said.template_id,
        industry=said.industry,
        function=said.function,
        objective=state.drafted.title,
        serves="",
        key_results=tuple(drafts.as_template(each) for each in samples),
    )
