"""docker-compose.yml: one gateway, or replicas behind a balancer, with settings that exist and data that is kept."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from gateway.settings import Settings, load
from gateway.store.dsn import parse_dsn
from tests.documents import ROOT

COMPOSE = ROOT / "docker-compose.yml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
REPLICAS = ["app-1", "app-2"]
GATEWAYS = ["app", *REPLICAS]


def profiles(service: str) -> list[str]:
    found: list[str] = SERVICES[service].get("profiles", [])
    return found


def test_it_is_what_the_specification_says() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_without_a_profile_there_are_the_gateway_and_a_database() -> None:
    assert {name for name in SERVICES if not profiles(name)} == {"app", "db"}
    assert {name for name in SERVICES if profiles(name) == ["scale"]} == SERVICES.keys() - {"app", "db"}
    database = SERVICES["db"]
    assert database["container_name"] == "m3ajem_gateway_db"
    assert database["environment"]["POSTGRES_DB"] == "m3ajem_gateway"
    assert re.fullmatch(r"postgres:\d+\.\d+", database["image"])
    assert database["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert SERVICES["app"]["depends_on"] == {"db": {"condition": "service_healthy"}}


def needed(service: str) -> set[str]:
    """What starts with a service."""
    return {service}.union(*(needed(each) for each in SERVICES[service].get("depends_on", ())))


def test_the_balancer_brings_what_stands_behind_it_and_not_the_single_gateway() -> None:
    assert needed("balancer") == SERVICES.keys() - {"app"}
    conditions = {each["condition"] for service in SERVICES.values() for each in service.get("depends_on", {}).values()}
    assert conditions == {"service_healthy"}
    # The gateway's health check is its image's.
    assert all("healthcheck" in SERVICES[name] for name in SERVICES if name not in GATEWAYS)


def test_it_publishes_on_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_data_is_kept_in_volumes_each_of_one_service() -> None:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", ())]
    named = [source for source, *_ in mounts if not source.startswith(".")]
    assert sorted(named) == sorted(DOCUMENT["volumes"])
    for name in GATEWAYS:
        [mount] = SERVICES[name]["volumes"]
        assert mount.partition(":")[2] == SERVICES[name]["environment"]["DATA_DIR"]


def test_files_that_are_mounted_are_there_and_read_only() -> None:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", ())]
    files = [(source, mode) for source, _, *mode in mounts if source.startswith(".")]
    assert len(files) == 4
    assert all((ROOT / source).is_file() and mode == ["ro"] for source, mode in files)


@pytest.mark.parametrize("name", GATEWAYS)
def test_settings_are_settings_and_start_the_server(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert {name.lower() for name in environment} <= Settings.model_fields.keys()
    settings = load(environment, None)
    assert settings.host == "0.0.0.0"
    assert not settings.callers_configured
    assert bool(settings.redis_url) == (name in REPLICAS)


def test_replicas_reach_the_database_through_the_pooler() -> None:
    for name in REPLICAS:
        dsn = parse_dsn(SERVICES[name]["environment"]["DATABASE_URL"])
        assert dsn.arguments["host"] == ["pgbouncer"]
        assert not dsn.statement_cache
        assert SERVICES[name]["networks"]["default"]["aliases"] == ["gateway"]


def test_what_is_stopped_has_time_to_finish() -> None:
    for name in [*GATEWAYS, "balancer"]:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > Settings().drain_s


def test_gateways_and_the_balancer_can_change_nothing_but_their_data() -> None:
    for name in [*GATEWAYS, "balancer"]:
        service = SERVICES[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), json.dumps(service)
