"""Directory put together: the one place where its parts meet the real things."""

from pathlib import Path
from uuid import UUID

from okr.directory.v1.directory_pb2_grpc import add_DirectoryServiceServicer_to_server
from okr.directory.v1.vault_pb2_grpc import add_VaultServiceServicer_to_server
from okr_chassis.news import News
from okr_chassis.process import run
from okr_chassis.service import Host, Service
from okr_directory.api import DirectoryService
from okr_directory.decider.person import people
from okr_directory.erasure import Erasures
from okr_directory.identity import Identities
from okr_directory.subscribers import subscriptions
from okr_directory.vault import KeyStore, master_key
from okr_directory.vault_api import VaultService

NAME = "directory"
MIGRATIONS: Path | None = Path(__file__).parent / "migrations"


def build(host: Host) -> Service:
    async def registered(person_id: UUID) -> bool:
        known = (await host.execute.load(people, people.stream(person_id))).state
        return known.registered and not known.erased

    assert host.log is not None, "directory has events of its own, and so a log"
    news = News(host.log, host.reader)
    identities = Identities(host.database, registered)
    keys = KeyStore(host.database, master_key(host.settings))
    erasures = Erasures(host.database, keys, host.vault.erase)
    api = DirectoryService(host.execute, host.reader, host.pages, news, identities, erasures)
    return Service(
        NAME,
        [
            (add_DirectoryServiceServicer_to_server, api),
            (add_VaultServiceServicer_to_server, VaultService(keys)),
        ],
        subscriptions(erasures),
        prepare=[keys.prove],
        aggregate_fields=("person_id",),
    )


if __name__ == "__main__":
    run(NAME, build, MIGRATIONS)
