"""Fixtures of this room: the TypeScript client as an app gets it, packed and installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.programs import PATIENCE_S, Node, fetch, run_program
from tests.documents import ROOT

HERE = Path(__file__).parent
SOURCE = ROOT / "clients" / "typescript"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's folder with what `npm pack` made of it: tests in other processes build theirs at the same time."""
    fetch(SOURCE)
    copy = tmp_path_factory.mktemp("typescript") / "package"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(SOURCE / "node_modules")
    run(copy, "npm", "pack", "--loglevel=error")
    return copy


@pytest.fixture(scope="session")
def project(package: Path) -> Path:
    """An app's folder in which the packed package is installed, with this room's programs."""
    folder = package.parent / "app"
    shutil.copytree(HERE / "app", folder)
    shutil.copy(HERE.parent / "xhr.mjs", folder)
    [packed] = package.glob("*.tgz")
    run(folder, "npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", str(packed))
    return folder


@pytest.fixture
def app(project: Path) -> Node:
    """Runs one of the programs until it ends by itself; JSON in, JSON out."""
    return lambda program, given: run_program(project / program, given)


def run(folder: Path, *command: str) -> str:
    """What a command prints, which must go well."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
