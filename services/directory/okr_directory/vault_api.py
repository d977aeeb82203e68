"""The gRPC side of the vault: keys for our own services, each time those of one organisation."""

from typing import Annotated, Any

from grpc import aio
from pydantic import BaseModel, Field

from okr.directory.v1 import vault_pb2 as pb
from okr.directory.v1 import vault_pb2_grpc
from okr_chassis.identity.auth import require_service
from okr_chassis.rpc.fields import Id
from okr_chassis.rpc.messages import accept
from okr_chassis.sealing import AUTHORS_PER_CALL
from okr_contracts.errors import InvalidInputError, Violation
from okr_directory.vault import KeyStore

Context = aio.ServicerContext[Any, Any]


class KeysQuestion(BaseModel, frozen=True):
    person_ids: Annotated[tuple[Id, ...], Field(max_length=AUTHORS_PER_CALL)] = ()
    make_own: bool = False


class VaultService(vault_pb2_grpc.VaultServiceServicer):
    """Answers services and nobody else, whoever they act for."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def GetAuthorKeys(self, request: pb.GetAuthorKeysRequest, context: Context) -> pb.GetAuthorKeysResponse:
        who = require_service()
        question = accept(KeysQuestion, request)
        if question.make_own and who.person_id is None:
            raise InvalidInputError([Violation("make_own", "needs a person whom the call is made for", "NO_PERSON")])
        make_for = who.person_id if question.make_own else None
        found = await self._keys.keys(who.organization_id, question.person_ids, make_for)
        return pb.GetAuthorKeysResponse(
            keys=[
                pb.AuthorKey(
                    person_id=str(person_id), version=each.version, key=each.secret or b"", erased=each.secret is None
                )
                for person_id, each in found.items()
            ]
        )
