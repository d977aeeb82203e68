"""Everything that may differ from one installation to the next, read from the environment once."""

import os
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableError

from okr_chassis.startup import StartupError


class SettingsError(StartupError):
    """A setting has a value it cannot have."""


def _absent_when_empty(value: Any) -> Any:
    return None if value == "" else value


Optional = BeforeValidator(_absent_when_empty)
"""Compose files set variables to nothing when they mean none."""


def _servers(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    servers = tuple(server for each in value.split(",") if (server := each.strip()))
    for server in servers:
        host, colon, port = server.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise ValueError(f"expected host:port, separated by commas; found {server!r}")
    return servers


Servers = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_servers)]
"""`host:port` of one or more, separated by commas."""


def _reachable(address: str) -> str:
    _servers(address)
    return address


Peers = dict[str, Annotated[str, AfterValidator(_reachable)]]
"""Service → `host:port` of one or more copies, separated by commas."""


class Settings(BaseSettings):
    """Read from `OKR_…` variables (`__` for nesting) and `DATABASE_URL`; anything may also be passed by name."""

    model_config = SettingsConfigDict(
        env_prefix="OKR_", env_nested_delimiter="__", extra="ignore", populate_by_name=True, frozen=True
    )

    env: Literal["development", "production"] = "development"
    data_dir: Path = Path(".data")
    """Keys, and PostgreSQL where no DATABASE_URL names another."""

    grpc_host: str = "127.0.0.1"
    grpc_port: int = Field(default=7400, ge=0, le=65535)
    """0 takes a free port."""
    metrics_port: Annotated[Annotated[int, Field(ge=0, le=65535)] | None, Optional] = None
    """Where /metrics, /livez and /readyz are, beside `grpc_host`; 0 takes a free port, none opens none."""
    peers: Peers = {}
    """Service → host:port, for services that run in processes of their own; empty: all are here."""

    database_url: Annotated[str | None, Optional] = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "database_url")
    )

    kafka: Servers = ()
    """Where to find Kafka. None: services hear of each other from their logs in PostgreSQL."""
    kafka_partitions: int = Field(default=8, ge=1, le=256)
    """Of every topic, for ever: it decides in which partition a shard lies."""
    kafka_replication: int = Field(default=1, ge=1, le=32767)
    """How many brokers keep each partition; three where there are three."""
    kafka_prefix: str = Field(default="okr", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """What our topics' names begin with, so that installations can share a cluster."""

    kafka_session_seconds: float = Field(default=30.0, ge=6.0, le=300.0)
    """How long Kafka waits for a process that is silent before others take its partitions over. A process that comes
    back within it, under the same instance name, goes on as if nothing had been."""
    instance: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", pattern=r"^[A-Za-z0-9._-]{1,100}$"
    )
    """What tells this copy of a service from the others. A name that stays over a restart lets it go on at once."""

    issuer: Annotated[str | None, Optional] = None
    """Whose tokens people bring; without one the development issuer's."""
    issuer_keys: Annotated[Path | None, Optional] = None
    """The issuer's public keys: a PEM file or a JWKS file."""
    audience: str = "okr"
    internal_key_file: Annotated[Path | None, Optional] = None
    """An Ed25519 private key (PEM) that all services share for the tokens between them; one process needs none."""
    page_key: Annotated[SecretStr | None, Optional] = None
    """Seals page tokens; the same on all replicas."""
    vault_key_file: Annotated[Path | None, Optional] = None
    """32 random bytes that wrap the keys of free text; without one `vault.key` in the data directory. Only directory
    reads it. Keep a copy where no backup of the database lies: without it, what people wrote is lost."""

    reflection: Annotated[bool | None, Optional] = None
    """Whether the gRPC server describes itself; by default in development only."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def production(self) -> bool:
        return self.env == "production"

    @property
    def reflects(self) -> bool:
        return not self.production if self.reflection is None else self.reflection

    @classmethod
    def load(cls, **known: Any) -> "Settings":
        """The settings of this process. Raises SettingsError naming each variable that is wrong."""
        try:
            return cls(**known)
        except ValidationError as error:
            faults = "; ".join(
                f"{_variable(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_url=False)
            )
            raise SettingsError(f"the settings cannot be used: {faults}") from error
        except UnreadableError as error:  # of all settings, these alone are written as JSON
            raise SettingsError(
                "the settings cannot be used: OKR_PEERS: expected one JSON object of services and their host:port; "
                "OKR_PEERS__GOALS and so on name them one by one"
            ) from error


def _variable(location: tuple[int | str, ...]) -> str:
    name = "__".join(str(part) for part in location).upper()
    return name if name in ("DATABASE_URL",) else f"OKR_{name}"
