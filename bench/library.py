"""The peer: check-ins in the PyPI library `eventsourcing`, as its manual writes them, on the same PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL, Identifier

CACHED = 10_000


class KeyResult(Aggregate):
    """Takes check-ins under the rules that ours has."""

    class CheckInRecorded(Aggregate.Event):
        check_in_id: UUID
        value: Decimal
        confidence: Decimal
        note: str
        occurred_at: datetime

    @event("Opened")
    def __init__(self, objective_id: UUID, starts_at: datetime) -> None:
        self.objective_id = objective_id
        self.starts_at = starts_at
        self.check_ins: dict[UUID, tuple[Decimal, Decimal, str, datetime]] = {}
        self.latest: UUID | None = None

    def record(
        self, check_in_id: UUID, value: Decimal, confidence: Decimal, note: str, occurred_at: datetime, at: datetime
    ) -> None:
        if check_in_id in self.check_ins:
            raise ValueError(f"there is a check-in {check_in_id}")
        if not self.starts_at <= occurred_at <= at:
            raise ValueError(f"{occurred_at} lies before {self.starts_at} or after now, {at}")
        self._record(check_in_id, value, confidence, note, occurred_at)

    @event(CheckInRecorded)
    def _record(self, check_in_id: UUID, value: Decimal, confidence: Decimal, note: str, occurred_at: datetime) -> None:
        if self.latest is None or occurred_at >= self.check_ins[self.latest][3]:
            self.latest = check_in_id
        self.check_ins[check_in_id] = (value, confidence, note, occurred_at)


class CheckIns(Application[UUID]):
    """Loads, asks and saves."""

    def open(self, objective_id: UUID, starts_at: datetime) -> UUID:
        key_result = KeyResult(objective_id, starts_at)
        self.save(key_result)
        return key_result.id

    def record(self, key_result_id: UUID, **content: Any) -> None:
        key_result: KeyResult = self.repository.get(key_result_id)
        key_result.record(**content)
        self.save(key_result)


class Standings(PostgresTrackingRecorder):
    """Where each key result stands, in one row, moved with the tracking of the event that moved it."""

    def __init__(self, datastore: PostgresDatastore, **options: Any) -> None:
        super().__init__(datastore, **options)
        schema, table = Identifier(datastore.schema), Identifier("standing")
        self.sql_create_statements.append(
            SQL(
                """CREATE TABLE IF NOT EXISTS {}.{} (key_result_id uuid PRIMARY KEY, check_in_id uuid, value numeric,
                   confidence numeric, checked_in_at timestamptz)"""
            ).format(schema, table)
        )
        self._upsert = SQL(
            """INSERT INTO {}.{} AS s VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (key_result_id) DO UPDATE SET check_in_id = excluded.check_in_id, value = excluded.value,
                   confidence = excluded.confidence, checked_in_at = excluded.checked_in_at
                WHERE s.checked_in_at <= excluded.checked_in_at"""
        ).format(schema, table)

    def stand(self, fact: Any, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            content = (fact.originator_id, fact.check_in_id, fact.value, fact.confidence, fact.occurred_at)
            cursor.execute(self._upsert, content, prepare=True)


class StandingsProjection(Projection[Standings]):
    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """What has no meaning here still has its place."""
        self.view.insert_tracking(tracking)

    @process_event.register
    def _(self, domain_event: KeyResult.CheckInRecorded, tracking: Tracking) -> None:
        self.view.stand(domain_event, tracking)


def environment(dsn: str, schema: str, *, cached: bool = False) -> dict[str, str]:
    """How the library is told where PostgreSQL is."""
    url = urlsplit(dsn)
    settings = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": url.path.lstrip("/"),
        "POSTGRES_HOST": url.hostname or "127.0.0.1",
        "POSTGRES_PORT": str(url.port or 5432),
        "POSTGRES_USER": unquote(url.username or ""),
        "POSTGRES_PASSWORD": unquote(url.password or ""),
        "POSTGRES_SCHEMA": schema,
        "POSTGRES_POOL_SIZE": "8",
    }
    return settings | ({"AGGREGATE_CACHE_MAXSIZE": str(CACHED)} if cached else {})


@contextmanager
def application(dsn: str, schema: str, *, cached: bool = False) -> Iterator[CheckIns]:
    found = CheckIns(environment(dsn, schema, cached=cached))
    try:
        yield found
    finally:
        found.close()


def project_all(dsn: str, schema: str, last: int) -> None:
    """Run the library's projection until it has processed everything there is."""
    with ProjectionRunner(
        application_class=CheckIns,
        projection_class=StandingsProjection,
        view_class=Standings,
        env=environment(dsn, schema),
    ) as runner:
        runner.wait(last, timeout=600)
