"""What is read of directory: the organisation, its units, its people, as they stand now."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, assert_never, cast
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from okr_chassis.rpc.pages import Page
from okr_contracts.directory import (
    DirectoryEvent,
    OrganizationFounded,
    PersonErased,
    PersonMoved,
    PersonRegistered,
    UnitAdded,
    UnitMoved,
    UnitRenamed,
)
from okr_contracts.sealed import ERASED
from okr_eventstore.projection import ProjectedEvent, Projection, Row, Rows


class OrganizationRow(Row, frozen=True):
    """Written by every event of its stream, so that its version is the stream's: the etag."""

    __table__ = "organization"
    __key__ = ("organization_id",)

    organization_id: UUID
    name: str = ""
    time_zone: str = "UTC"
    founded_at: datetime | None = None


class UnitRow(Row, frozen=True):
    __table__ = "unit"
    __key__ = ("organization_id", "unit_id")

    organization_id: UUID
    unit_id: UUID
    name: str = ""
    kind: str = "department"
    parent_unit_id: UUID | None = None


class PersonRow(Row, frozen=True):
    """Who has joined. What they are called stands in `identity`, which is no read model and is not rebuilt."""

    __table__ = "person"
    __key__ = ("organization_id", "person_id")

    organization_id: UUID
    person_id: UUID
    unit_id: UUID | None = None
    erased: bool = False


def project(rows: Rows, event: ProjectedEvent) -> None:
    organization_id = event.organization_id
    fact = cast(DirectoryEvent, event.data)
    if isinstance(fact, PersonRegistered | PersonMoved | PersonErased):
        person = rows.get(PersonRow, organization_id, fact.person_id)
        if isinstance(fact, PersonErased):
            rows.put(replace(person, erased=True))
        else:
            rows.put(replace(person, unit_id=fact.unit_id))
        return
    organization = rows.get(OrganizationRow, organization_id)
    match fact:
        case OrganizationFounded():
            organization = replace(organization, name=fact.name, time_zone=fact.time_zone, founded_at=event.recorded_at)
        case UnitAdded():
            rows.put(
                UnitRow(
                    organization_id=organization_id,
                    unit_id=fact.unit_id,
                    name=fact.name,
                    kind=fact.kind,
                    parent_unit_id=fact.parent_unit_id,
                )
            )
        case UnitRenamed():
            rows.put(replace(rows.get(UnitRow, organization_id, fact.unit_id), name=fact.name))
        case UnitMoved():
            rows.put(replace(rows.get(UnitRow, organization_id, fact.unit_id), parent_unit_id=fact.parent_unit_id))
        case _:
            assert_never(fact)
    rows.put(organization)


structure = Projection(
    "directory.structure", source="directory", rows=(OrganizationRow, UnitRow, PersonRow), project=project
)


class Reads(Protocol):
    """What the queries need of the chassis' reader."""

    async def fetch(self, sql: str, *args: object) -> Sequence[asyncpg.Record]: ...

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None: ...


async def organization(reads: Reads, organization_id: UUID) -> asyncpg.Record | None:
    return await reads.fetchrow(
        "SELECT name, time_zone, founded_at, _stream_version FROM organization WHERE organization_id = $1",
        organization_id,
    )


async def unit(reads: Reads, organization_id: UUID, unit_id: UUID) -> asyncpg.Record | None:
    return await reads.fetchrow(
        "SELECT unit_id, name, kind, parent_unit_id FROM unit WHERE organization_id = $1 AND unit_id = $2",
        organization_id,
        unit_id,
    )


async def units(reads: Reads, organization_id: UUID, page: Page) -> Sequence[asyncpg.Record]:
    """In the order of their ids, one more than the page holds."""
    return await reads.fetch(
        """SELECT unit_id, name, kind, parent_unit_id FROM unit
            WHERE organization_id = $1 AND ($2::uuid IS NULL OR unit_id > $2) ORDER BY unit_id LIMIT $3""",
        organization_id,
        page.after_id,
        page.limit,
    )


_PERSON = f"""SELECT p.person_id, p.unit_id, p.erased, coalesce(i.handle, '') AS handle,
                     CASE WHEN p.erased THEN '{ERASED}' ELSE coalesce(i.name, '') END AS name,
                     coalesce(i.email, '') AS email
                FROM person p LEFT JOIN identity i ON i.organization_id = p.organization_id
                                                  AND i.person_id = p.person_id AND NOT p.erased
               WHERE p.organization_id = $1"""
"""Whoever was erased is still there, without a name, at once: their row of `identity` goes a moment after the event."""


async def person(reads: Reads, organization_id: UUID, person_id: UUID) -> asyncpg.Record | None:
    return await reads.fetchrow(f"{_PERSON} AND p.person_id = $2", organization_id, person_id)


async def people(
    reads: Reads, organization_id: UUID, page: Page, handle: str | None, person_ids: Sequence[UUID]
) -> Sequence[asyncpg.Record]:
    """In the order of their ids, one more than the page holds; only one handle, only some ids, where given."""
    return await reads.fetch(
        f"""{_PERSON} AND ($2::uuid IS NULL OR p.person_id > $2) AND ($3::text IS NULL OR i.handle = $3)
              AND (cardinality($4::uuid[]) = 0 OR p.person_id = ANY ($4)) ORDER BY p.person_id LIMIT $5""",
        organization_id,
        page.after_id,
        handle,
        list(person_ids),
        page.limit,
    )
