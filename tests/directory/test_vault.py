"""The keys to what people wrote: made once, for services only, and worth nothing without the master key."""

import asyncio
import os
from pathlib import Path
from uuid import UUID, uuid4

import grpc
import pytest
from grpc import aio

from okr.directory.v1 import vault_pb2 as pb
from okr.directory.v1.vault_pb2_grpc import VaultServiceStub
from okr_chassis.identity.auth import PERSON_PREFIX, Caller, acting_for, calling
from okr_chassis.identity.issuer import InternalIssuer
from okr_chassis.rpc.channels import connect
from okr_chassis.rpc.peers import Peers
from okr_chassis.settings import Settings
from okr_chassis.startup import StartupError
from okr_directory import __main__ as directory
from okr_directory.vault import KeyStore, VaultKeyError, master_key
from okr_eventstore.database import Database
from okr_eventstore.migrate import migrate
from tests.support.house import House, house, refused

MASTER = bytes(range(32))
ACME, MINT = UUID(int=1), UUID(int=2)
DENIED, UNAUTHENTICATED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
async def tables(database: Database) -> Database:
    await migrate(database, directory.MIGRATIONS or Path())
    return database


def ana(organization_id: UUID, person_id: UUID) -> Caller:
    return Caller(organization_id, person_id, f"{PERSON_PREFIX}{person_id}")


def peers_of(built: House) -> Peers:
    """How services of the house call directory."""
    return built.platform.services["directory"].host.peers


async def destroy(keys: KeyStore, tables: Database, person_id: UUID) -> None:
    async with tables.transaction() as connection:
        await keys.destroy(connection, ACME, person_id)


# --- the tables ------------------------------------------------------------------------------------


async def test_a_key_is_made_once_however_many_ask_for_it_at_the_same_time(tables: Database) -> None:
    person_id = uuid4()
    stores = [KeyStore(tables, MASTER) for _ in range(4)]
    found = await asyncio.gather(*(stores[turn % 4].keys(ACME, [], person_id) for turn in range(40)))
    secrets = {each[person_id].secret for each in found}
    assert len(secrets) == 1
    assert secrets != {None}


async def test_who_never_wrote_has_no_key_and_asking_makes_none(tables: Database) -> None:
    keys, person_id = KeyStore(tables, MASTER), uuid4()
    assert await keys.keys(ACME, [person_id]) == {}
    assert not await keys.holds(ACME, person_id)
    await keys.keys(ACME, [], person_id)
    assert await keys.holds(ACME, person_id)


async def test_two_organisations_and_two_people_share_nothing(tables: Database) -> None:
    keys, person_id, other = KeyStore(tables, MASTER), uuid4(), uuid4()
    secrets = [
        (await keys.keys(organization_id, [], each))[each].secret
        for organization_id in (ACME, MINT)
        for each in (person_id, other)
    ]
    assert len(set(secrets)) == 4
    await destroy(keys, tables, person_id)
    assert (await keys.keys(ACME, [person_id]))[person_id].secret is None
    assert (await keys.keys(MINT, [person_id]))[person_id].secret == secrets[2]


async def test_a_destroyed_key_is_made_no_more_not_even_where_there_was_none(tables: Database) -> None:
    keys, wrote, never_wrote = KeyStore(tables, MASTER), uuid4(), uuid4()
    await keys.keys(ACME, [], wrote)
    for person_id in (wrote, never_wrote):
        await destroy(keys, tables, person_id)
        await destroy(keys, tables, person_id)
        assert (await keys.keys(ACME, [], person_id))[person_id].secret is None
    assert await tables.fetchval("SELECT count(*) FROM author_key WHERE wrapped IS NOT NULL") == 0


async def test_a_key_cannot_be_put_in_anothers_place(tables: Database) -> None:
    keys, person_id, other = KeyStore(tables, MASTER), uuid4(), uuid4()
    await keys.keys(ACME, [], person_id)
    await keys.keys(ACME, [], other)
    await tables.execute(
        """UPDATE author_key SET wrapped = (SELECT wrapped FROM author_key WHERE person_id = $1)
            WHERE person_id = $2""",
        person_id,
        other,
    )
    with pytest.raises(VaultKeyError):
        await keys.keys(ACME, [other])


async def test_no_key_lies_in_the_database_unwrapped(tables: Database) -> None:
    keys, person_id = KeyStore(tables, MASTER), uuid4()
    found = (await keys.keys(ACME, [], person_id))[person_id]
    assert found.secret is not None
    assert found.secret.hex() not in repr(found)
    rows = [*await tables.fetch("SELECT * FROM author_key"), *await tables.fetch("SELECT * FROM organization_key")]
    stored = [value for row in rows for value in row if isinstance(value, bytes)]
    assert len(stored) == 2
    assert not any(found.secret in value or MASTER in value for value in stored)


async def test_another_master_key_is_told_from_the_right_one(tables: Database) -> None:
    keys = KeyStore(tables, MASTER)
    await keys.prove()
    await keys.prove()
    await keys.keys(ACME, [], uuid4())
    another = KeyStore(tables, os.urandom(32))
    with pytest.raises(VaultKeyError, match="key of another one"):
        await another.prove()
    with pytest.raises(VaultKeyError, match="OKR_VAULT_KEY_FILE"):
        await another.keys(ACME, [], uuid4())


# --- the master key --------------------------------------------------------------------------------


def test_the_master_key_lies_in_the_data_directory_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    assert master_key(settings) == master_key(settings)
    assert len(master_key(settings)) == 32
    assert (tmp_path / "data" / "vault.key").stat().st_mode & 0o777 == 0o600


def test_a_master_key_may_lie_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "mounted.key"
    settings = Settings(data_dir=tmp_path / "data", vault_key_file=path)
    with pytest.raises(VaultKeyError, match="cannot be read"):
        master_key(settings)
    path.write_bytes(b"short")
    with pytest.raises(VaultKeyError, match="5 bytes"):
        master_key(settings)
    path.write_bytes(MASTER)
    assert master_key(settings) == MASTER


async def test_with_the_key_of_another_database_nothing_starts(fresh_dsn: str, tmp_path: Path) -> None:
    async with house(fresh_dsn, tmp_path / "one", [directory]):
        pass
    with pytest.raises(StartupError, match="the vault's key does not open the keys in this database"):
        async with house(fresh_dsn, tmp_path / "two", [directory]):
            pass
    async with house(fresh_dsn, tmp_path / "one", [directory]):
        pass


# --- who is answered -------------------------------------------------------------------------------


async def test_services_get_the_keys_of_the_organisation_they_act_in(directory_house: House) -> None:
    here, elsewhere, person_id = uuid4(), uuid4(), uuid4()
    vault = peers_of(directory_house).vault
    with calling(ana(here, person_id)):
        made = await vault.GetAuthorKeys(pb.GetAuthorKeysRequest(make_own=True))
        again = await vault.GetAuthorKeys(pb.GetAuthorKeysRequest(person_ids=[str(person_id), str(uuid4())]))
    assert [key.person_id for key in made.keys] == [str(person_id)]
    assert len(made.keys[0].key) == 32
    assert list(again.keys) == list(made.keys)
    with acting_for(elsewhere, "service:insights"):
        assert not (await vault.GetAuthorKeys(pb.GetAuthorKeysRequest(person_ids=[str(person_id)]))).keys


async def test_a_key_is_made_for_a_person_only(directory_house: House) -> None:
    with acting_for(uuid4(), "service:goals"), refused(grpc.StatusCode.INVALID_ARGUMENT):
        await peers_of(directory_house).vault.GetAuthorKeys(pb.GetAuthorKeysRequest(make_own=True))


@pytest.mark.parametrize("operator", [False, True], ids=["person", "operator"])
async def test_people_get_no_key_not_even_their_own(directory_house: House, operator: bool) -> None:
    issuer = directory_house.platform.issuer
    assert issuer is not None
    token = issuer.issue(uuid4(), uuid4(), operator)
    channel: aio.Channel = connect(directory_house.platform.address, lambda: token)
    with refused(DENIED, "SERVICES_ONLY"):
        await VaultServiceStub(channel).GetAuthorKeys(pb.GetAuthorKeysRequest(make_own=True))
    with refused(DENIED, "SERVICES_ONLY"):
        await VaultServiceStub(channel).GetAuthorKeys(pb.GetAuthorKeysRequest(person_ids=["nonsense"]))
    await channel.close()


async def test_a_service_of_another_platform_is_nobody(directory_house: House) -> None:
    stranger = InternalIssuer()
    token = stranger.issue("insights", ana(uuid4(), uuid4()))
    channel: aio.Channel = connect(directory_house.platform.address, lambda: token)
    with refused(UNAUTHENTICATED):
        await VaultServiceStub(channel).GetAuthorKeys(pb.GetAuthorKeysRequest(make_own=True))
    await channel.close()


async def test_a_question_has_its_limits(directory_house: House) -> None:
    vault = peers_of(directory_house).vault
    with acting_for(uuid4(), "service:insights"):
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            await vault.GetAuthorKeys(pb.GetAuthorKeysRequest(person_ids=[str(uuid4())] * 1001))
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            await vault.GetAuthorKeys(pb.GetAuthorKeysRequest(person_ids=["ana"]))
