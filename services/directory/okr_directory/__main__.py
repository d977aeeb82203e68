"""Directory put together: the one place where its parts meet the real things."""

from pathlib import Path
from uuid import UUID

from okr.directory.v1.directory_pb2_grpc import add_DirectoryServiceServicer_to_server
from okr_chassis.news import News
from okr_chassis.platform import run
from okr_chassis.service import Host, Service
from okr_directory.api import DirectoryService
from okr_directory.decider.person import people
from okr_directory.identity import Identities
from okr_directory.subscribers import subscriptions

NAME = "directory"
MIGRATIONS: Path | None = Path(__file__).parent / "migrations"


def build(host: Host) -> Service:
    async def registered(person_id: UUID) -> bool:
        return (await host.execute.load(people, people.stream(person_id))).version > 0

    assert host.log is not None, "directory has events of its own, and so a log"
    news = News(host.log, host.reader)
    identities = Identities(host.database, registered)
    api = DirectoryService(host.execute, host.reader, host.pages, news, identities)
    return Service(
        NAME,
        [(add_DirectoryServiceServicer_to_server, api)],
        subscriptions,
        aggregate_fields=("person_id",),
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
