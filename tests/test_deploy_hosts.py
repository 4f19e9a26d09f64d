"""Files under deploy/ for hosts and servers: settings that exist, right ports and paths, time to finish, a folder that stays."""

import configparser
import ipaddress
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.access.addresses import ClientAddresses
from gateway.settings import Settings, load
from gateway.web.connections import LAST_REQUESTS_S
from gateway.web.operations import OPERATIONS
from tests.balancing import NGINX, PGBOUNCER, nginx_conf, program
from tests.documents import ROOT

DEPLOY = ROOT / "deploy"
DRAIN_S = Settings().drain_s
PATHS = {"/health/live", "/health/ready"}
IMAGE = dict(re.findall(r"^ +(HOST|PORT|DATA_DIR)=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))


def parsed(name: str) -> Any:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    if name.endswith(".toml"):
        return tomllib.loads(text)
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def starts(environment: dict[str, str]) -> Settings:
    """The settings that the image has with these; each is one, and they start the server."""
    assert {name.lower() for name in environment} <= Settings.model_fields.keys()
    return load(IMAGE | environment, None)


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def test_health_is_asked_where_it_is_told() -> None:
    assert {operation.path for operation in OPERATIONS} >= PATHS


def test_railway() -> None:
    config = parsed("railway.json")
    assert (ROOT / config["build"]["dockerfilePath"]).is_file()
    deploy = config["deploy"]
    assert deploy["healthcheckPath"] in PATHS
    assert deploy["drainingSeconds"] > DRAIN_S
    # Two at once would want one folder.
    assert deploy["overlapSeconds"] == 0


def test_fly() -> None:
    config = parsed("fly.toml")
    settings = starts(config["env"] | {"ADMIN_TOKEN": "x"})
    service = config["http_service"]
    assert service["internal_port"] == settings.port
    assert [check["path"] in PATHS for check in service["checks"]] == [True]
    assert [Path(mount["destination"]) for mount in config["mounts"]] == [settings.data_dir]
    assert DRAIN_S < seconds(config["kill_timeout"]) <= 300
    assert (DEPLOY / config["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert service["auto_stop_machines"] == "off"


def test_render() -> None:
    config = parsed("render.yaml")
    [service], [database] = config["services"], config["databases"]
    given = {one["key"]: one.get("value", "x" * 44) for one in service["envVars"]}
    settings = starts(given | {"DATABASE_URL": "postgres://user:password@host/name"})
    assert service["disk"]["mountPath"] == str(settings.data_dir)
    assert service["healthCheckPath"] in PATHS
    assert DRAIN_S < service["maxShutdownDelaySeconds"] <= 300
    assert (ROOT / service["dockerfilePath"]).is_file()
    assert {one["fromDatabase"]["name"] for one in service["envVars"] if "fromDatabase" in one} == {database["name"]}
    assert database["ipAllowList"] == []


def test_digitalocean() -> None:
    [service] = parsed("digitalocean.yaml")["services"]
    [database] = parsed("digitalocean.yaml")["databases"]
    given = {one["key"]: one["value"] for one in service["envs"]}
    assert given["DATABASE_URL"] == f"${{{database['name']}.DATABASE_URL}}"
    settings = starts(given | {"DATABASE_URL": "postgres://user:password@host/name?sslmode=require"})
    assert service["http_port"] == settings.port
    assert {service[check]["http_path"] for check in ("health_check", "liveness_health_check")} == PATHS
    assert service["termination"]["grace_period_seconds"] > DRAIN_S
    assert {one["key"] for one in service["envs"] if one.get("type") == "SECRET"} == secrets(given)


def secrets(given: dict[str, str]) -> set[str]:
    """Which of these settings no log line may show, apart from what the host fills in."""
    fields = {name: str(Settings.model_fields[name.lower()].annotation) for name in given}
    return {name for name, annotation in fields.items() if "SecretStr" in annotation} - {"DATABASE_URL"}


def test_lightsail() -> None:
    config = parsed("lightsail/deployment.json")
    [(name, container)] = config["containers"].items()
    settings = starts(container["environment"])
    endpoint = config["publicEndpoint"]
    assert (endpoint["containerName"], endpoint["containerPort"]) == (name, settings.port)
    assert container["ports"] == {str(settings.port): "HTTP"}
    assert endpoint["healthCheck"]["path"] in PATHS
    assert settings.drain_s < 30


def test_systemd() -> None:
    unit = DEPLOY / "systemd" / "m3ajem-gateway.service"
    config = configparser.RawConfigParser(strict=False)
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config.read(unit, encoding="utf-8")
    service = config["Service"]
    assert float(service["TimeoutStopSec"]) > DRAIN_S
    assert service["ExecStart"].endswith(f" run.py --data-dir %S/{service['StateDirectory']}")


@pytest.mark.skipif(program("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_its_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "m3ajem-gateway.service").read_text(encoding="utf-8")
    unit = tmp_path / "m3ajem-gateway.service"
    # The gateway is not installed here.
    unit.write_text(text.replace("/opt/m3ajem-gateway/.venv/bin/python", "/bin/sh"), encoding="utf-8")
    run = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(program("caddy") is None, reason="caddy is not installed")
def test_caddy_understands_its_file(tmp_path: Path) -> None:
    file = str(DEPLOY / "caddy" / "Caddyfile")
    command = [str(program("caddy")), "adapt", "--validate", "--adapter", "caddyfile", "--config", file]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(program("nginx") is None, reason="nginx is not installed")
@pytest.mark.parametrize("cloudflare", [False, True])
def test_nginx_understands_its_files(tmp_path: Path, *, cloudflare: bool) -> None:
    server = "server {" if not cloudflare else f"include {NGINX}/cloudflare.conf;\n\nserver {{"
    conf = nginx_conf("box.conf", tmp_path, {"\nserver {": f"\n{server}"})
    command = [str(program("nginx")), "-t", "-q", "-e", str(tmp_path / "error.log"), "-c", str(conf)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_both_files_of_nginx_stand_before_the_gateway_in_the_same_way() -> None:
    box, compose = ((NGINX / name).read_text(encoding="utf-8") for name in ("box.conf", "compose.conf"))
    shared = re.compile(r"(?:# https, .*?\n\}\n|keepalive 64;|keepalive_timeout 1s;|include .*?;)", re.DOTALL)
    assert shared.findall(box) == shared.findall(compose)
    assert len(shared.findall(box)) == 4


def test_proxies_wait_as_long_as_a_turn_may_take_and_pass_bodies_of_any_size_allowed() -> None:
    proxy = (NGINX / "proxy.conf").read_text(encoding="utf-8")
    caddy = (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8")
    waits = re.findall(r"(?:proxy_read_timeout|response_header_timeout) (\d+)s", proxy + caddy)
    assert [int(wait) > Settings().turn_timeout_s for wait in waits] == [True, True]
    sizes = re.findall(r"(?:client_max_body_size|max_size) (\d+)(m|MB)\b", proxy + caddy)
    units = {"m": 1 << 20, "MB": 10**6}
    assert [int(size) * units[unit] > Settings().max_body_bytes for size, unit in sizes] == [True, True]


def test_nginx_buffers_nothing_and_sends_no_post_again() -> None:
    text = (NGINX / "proxy.conf").read_text(encoding="utf-8")
    assert "\nproxy_buffering off;" in text
    assert re.findall(r"^ *proxy_next_upstream (.+);", text, re.MULTILINE) == ["error timeout http_503"]


def test_proxies_close_idle_connections_before_a_gateway_that_ends_does() -> None:
    files = [NGINX / "box.conf", NGINX / "compose.conf", DEPLOY / "caddy" / "Caddyfile"]
    kept = [re.findall(r"^\s*keepalive(?:_timeout)? (\d+)s;?$", file.read_text(encoding="utf-8"), re.MULTILINE) for file in files]
    assert [int(seconds) < LAST_REQUESTS_S for [seconds] in kept] == [True] * 3


def test_cloudflare_s_networks_can_be_trusted() -> None:
    text = (NGINX / "cloudflare.conf").read_text(encoding="utf-8")
    networks = re.findall(r"^set_real_ip_from (\S+);$", text, re.MULTILINE)
    assert len({ipaddress.ip_network(network) for network in networks}) == len(networks) == 22
    # Without nginx the gateway itself may be told of them.
    addresses = ClientAddresses(networks)
    assert addresses.of("172.64.1.2", ["203.0.113.9"]) == "203.0.113.9"
    assert addresses.of("198.51.100.1", ["203.0.113.9"]) == "198.51.100.1"


def test_pgbouncer_hands_out_connections_by_transaction() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(PGBOUNCER, encoding="utf-8")
    assert config["pgbouncer"]["pool_mode"] == "transaction"
    assert int(config["pgbouncer"]["default_pool_size"]) < 100, "PostgreSQL's own default of max_connections"
