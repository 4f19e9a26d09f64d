"""Fixtures of this room: the TypeScript client as an app gets it, packed and installed."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.programs import PATIENCE_S, Node, alone_in, fetch, run_program
from tests.documents import ROOT

HERE = Path(__file__).parent
SOURCE = ROOT / "clients" / "typescript"


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run: the first of its processes that needs the package makes it there for all."""
    fetch(SOURCE)
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "typescript"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def package(workshop: Path) -> Path:
    """A copy of the package's folder with what `npm pack` made of it. Tests only read there."""
    return made_once(workshop / "package", pack)


@pytest.fixture(scope="session")
def project(workshop: Path, package: Path) -> Path:
    """An app's folder in which the packed package is installed, with this room's programs. Tests only read there."""
    return made_once(workshop / "app", lambda folder: install(next(package.glob("*.tgz")), folder))


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is there as soon as it is complete."""
    with alone_in(folder.parent):
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            make(draft)
            draft.rename(folder)
    return folder


def pack(copy: Path) -> None:
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(SOURCE / "node_modules")
    run(copy, "npm", "pack", "--loglevel=error")


def install(packed: Path, folder: Path) -> None:
    shutil.copytree(HERE / "app", folder)
    shutil.copy(HERE.parent / "xhr.mjs", folder)
    run(folder, "npm", "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", str(packed))


@pytest.fixture
def app(project: Path) -> Node:
    """Runs one of the programs until it ends by itself; JSON in, JSON out."""
    return lambda program, given: run_program(project / program, given)


def run(folder: Path, *command: str) -> str:
    """What a command prints, which must go well."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
