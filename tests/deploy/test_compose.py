"""The compose file says what the services read, and starts nothing before what it needs.

NOT RUN in these tests, for want of a container engine: the containers. That the services come up with these settings,
in this order, is shown by `test_processes.py` without containers.
"""

import json
import shutil
import subprocess
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from okr_chassis.settings import Settings
from tests.deploy.compose import ONCE, SERVICES, environment, read_compose
from tests.deploy.recipe import PROJECT, read_recipe
from tools.kafka.installation import version

FILE = read_compose()
CONTAINERS: dict[str, dict[str, Any]] = FILE["services"]
IMAGE = read_recipe(PROJECT / "deploy" / "Dockerfile")[-1]
OURS = [name for name, each in CONTAINERS.items() if each["image"].startswith("okr-platform")]
SCHEMA = PROJECT / "tests" / "deploy" / "compose-spec.json"
"""The Compose Specification's own schema, as its parser (compose-go 2.16) carries it; Apache License 2.0."""


def faults(document: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(document)]


def test_the_file_is_what_the_compose_specification_allows() -> None:
    assert faults(FILE) == []


@pytest.mark.parametrize("key", ["depend_on", "enviroment", "heathcheck"])
def test_a_misspelt_word_would_be_found(key: str) -> None:
    goals = CONTAINERS["goals"] | {key: {}}
    (fault,) = faults(FILE | {"services": CONTAINERS | {"goals": goals}})
    assert repr(key) in fault


def test_docker_itself_reads_the_file() -> None:
    docker = shutil.which("docker")
    known = docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0
    if not docker or not known:
        pytest.skip("NOT CHECKED: `docker compose` is not installed; its schema was checked instead")
    command = [docker, "compose", "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_service_runs_in_a_container_of_its_own() -> None:
    folders = {path.name for path in (PROJECT / "services").iterdir()} - {"cli"}
    assert set(SERVICES) == folders
    for service in SERVICES:
        assert CONTAINERS[service]["command"] == ["python", "-m", f"okr_{service}"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_when_all_it_needs_is_there_and_not_before(service: str) -> None:
    done, healthy = {"condition": "service_completed_successfully"}, {"condition": "service_healthy"}
    assert CONTAINERS[service]["depends_on"] == {"database": done, "topics": done}
    assert CONTAINERS["topics"]["depends_on"] == {"kafka": healthy}
    storage = {"postgres": healthy, "keys": done}
    assert CONTAINERS["database"]["depends_on"] == storage | {"samples": done | {"required": False}}
    assert CONTAINERS["samples"]["depends_on"] == storage
    assert IMAGE.health_check
    for needed in ("postgres", "kafka"):
        assert CONTAINERS[needed]["healthcheck"]["test"]


def test_the_command_waits_until_all_are_ready() -> None:
    assert CONTAINERS["okr"]["depends_on"] == {service: {"condition": "service_healthy"} for service in SERVICES}


def test_only_what_everybody_needs_runs_unasked() -> None:
    assert {name for name, each in CONTAINERS.items() if "profiles" in each} == {"okr", "samples"}


@pytest.mark.parametrize("container", OURS)
def test_every_variable_is_a_setting_and_has_a_value_it_can_have(
    container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = environment(CONTAINERS[container]) | IMAGE.environment
    ours = {name: value for name, value in found.items() if name.startswith("OKR_") or name == "DATABASE_URL"}
    fields = {f"OKR_{field.upper()}" for field in Settings.model_fields} - {"OKR_DATABASE_URL"} | {"DATABASE_URL"}
    assert {name.partition("__")[0] for name in ours} <= fields
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert settings.kafka == ("kafka:9092",)
    port = IMAGE.environment["OKR_GRPC_PORT"]
    assert settings.peers == {service: f"{service}:{port}" for service in SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_its_own_role_in_the_database_and_its_password_in_no_variable(service: str) -> None:
    address = urlsplit(environment(CONTAINERS[service])["DATABASE_URL"])
    passfile = CONTAINERS["database"]["command"][-1]
    assert (address.username, address.password) == (f"okr_{service}", None)
    assert (address.hostname, address.query) == ("postgres", f"passfile={passfile}")
    assert address.path == f"/{environment(CONTAINERS['postgres'])['POSTGRES_DB']}"


def test_the_databases_own_password_is_given_to_those_alone_who_make_roles_and_schemas() -> None:
    changed = read_compose(OKR_DATABASE_PASSWORD="different")["services"]
    told = {name for name, each in changed.items() if "different" in str(each)}
    assert told == {"postgres", "samples", "database"}


def test_of_all_services_only_directory_can_read_the_key_to_what_people_wrote() -> None:
    having = {
        name for name, each in CONTAINERS.items() for volume in each.get("volumes", []) if volume.startswith("vault:")
    }
    assert having == {"keys", "directory", "samples"}


def test_the_outside_reaches_nothing_but_kafka_and_that_from_this_machine_alone() -> None:
    published = {name: each["ports"] for name, each in CONTAINERS.items() if "ports" in each}
    assert published == {"kafka": ["127.0.0.1:19092:19092"]}


@pytest.mark.parametrize("container", OURS)
def test_our_containers_can_do_no_more_than_they_must(container: str) -> None:
    each = CONTAINERS[container]
    assert each["read_only"]
    assert each["cap_drop"] == ["ALL"]
    assert each["security_opt"] == ["no-new-privileges:true"]


def test_kafka_is_the_version_the_tests_run_with_the_same_guarantees() -> None:
    assert CONTAINERS["kafka"]["image"] == f"apache/kafka:{version()}"
    settings = environment(CONTAINERS["kafka"])
    tested = dict(
        line.split("=", 1)
        for line in (PROJECT / "tools" / "kafka" / "server.properties").read_text().splitlines()
        if line and not line.startswith("#")
    )
    for name in (
        "auto.create.topics.enable", "log.retention.ms", "log.message.timestamp.after.max.ms",
        "offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
        "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr",
    ):  # fmt: skip
        assert settings[f"KAFKA_{name.replace('.', '_').upper()}"] == tested[name], name


def test_what_runs_once_is_waited_for_by_somebody() -> None:
    """Compose takes a container that ends for a failure, unless another was waiting for its end."""
    for once in ONCE:
        assert any(once in each.get("depends_on", {}) for each in CONTAINERS.values())
