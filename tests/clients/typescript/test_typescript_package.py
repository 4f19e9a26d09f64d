"""The packed TypeScript client: what is in it, the types it gives to programs of every kind, and its own tests."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.clients.typescript.conftest import run

STRICT: dict[str, Any] = {"strict": True, "exactOptionalPropertyTypes": True, "noEmit": True, "target": "ES2022", "types": []}
PROGRAMS: dict[str, dict[str, Any]] = {
    "esm": {"module": "nodenext"},
    "cjs": {"module": "nodenext"},
    "bundled": {"module": "ESNext", "moduleResolution": "bundler"},
}


def test_the_package_holds_what_it_needs_and_nothing_else(package: Path) -> None:
    [packed] = package.glob("*.tgz")
    with tarfile.open(packed) as archive:
        names = {Path(name).relative_to("package").as_posix() for name in archive.getnames()}
    assert {name for name in names if not name.startswith("dist/")} == {"package.json", "README.md", "LICENSE"}
    described = json.loads((package / "package.json").read_text(encoding="utf-8"))
    assert "dependencies" not in described
    entries = described["exports"]["."]
    pointed_at = [described[name] for name in ("main", "module", "types")]
    pointed_at += [path for kind in ("import", "require") for path in entries[kind].values()]
    assert {path.removeprefix("./") for path in pointed_at} <= names


@pytest.mark.parametrize("kind", PROGRAMS)
def test_types(package: Path, project: Path, kind: str) -> None:
    """A program with mistakes in it: each line that expects an error must have one, and no other line may."""
    suffix = {"esm": "mts", "cjs": "cts", "bundled": "ts"}[kind]
    program = project / f"typed.{suffix}"
    program.write_text((Path(__file__).parent / "typed.ts").read_text(encoding="utf-8"), encoding="utf-8")
    settings = {"compilerOptions": STRICT | PROGRAMS[kind] | {"lib": ["ES2022", "DOM"]}, "files": [program.name]}
    (project / f"tsconfig.{kind}.json").write_text(json.dumps(settings), encoding="utf-8")
    run(project, "node", str(package / "node_modules/typescript/bin/tsc"), "-p", f"tsconfig.{kind}.json")


def test_its_own_tests(package: Path) -> None:
    told = run(package, "node", "--test", "test/")
    assert "# fail 0" in told
    assert "# pass 0" not in told
