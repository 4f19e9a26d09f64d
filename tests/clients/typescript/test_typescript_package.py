"""The packed TypeScript client: what is in it, the types it gives to programs of every kind, and its own tests."""

import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gateway.web import schemas
from gateway.web.chat_body import ChatBody
from tests.clients.typescript.conftest import HERE, SOURCE, run
from tests.documents import blocks

STRICT: dict[str, Any] = {"strict": True, "exactOptionalPropertyTypes": True, "noEmit": True, "target": "ES2022", "types": []}
LOG = ("LoggedMessage", "Conversation", "ListedConversation", "ConversationPage")
MODELS: dict[str, type[BaseModel]] = {
    name: getattr(schemas, name) for name in ("ToolCall", "Thought", "Source", "Usage", "ChatReply", *LOG)
}
INTERFACE = re.compile(r"^export interface (\w+) \{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
FIELD = re.compile(r"^  (\w+)(\??): ", re.MULTILINE)


def test_types_have_the_fields_that_the_gateway_speaks_of() -> None:
    """Optional are those that may be left out."""
    source = (SOURCE / "src/types.ts").read_text(encoding="utf-8")
    interfaces = {name: {field: bool(mark) for field, mark in FIELD.findall(body)} for name, body in INTERFACE.findall(source)}
    for name, model in (MODELS | {"ChatRequest": ChatBody}).items():
        assert interfaces[name] == {field: not info.is_required() for field, info in model.model_fields.items()}, name
    problem = {field: not info.is_required() for field, info in schemas.Problem.model_fields.items()}
    assert interfaces["Problem"] == problem | {"retryable": True}
    events: dict[str, type[BaseModel]] = {
        "StartEvent": schemas.StreamStart,
        "StatusEvent": schemas.StreamStatus,
        "TextEvent": schemas.StreamText,
    }
    for name, model in events.items():
        assert interfaces[name].keys() == model.model_fields.keys() | {"type"}


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


def test_types(package: Path, project: Path, tmp_path: Path) -> None:
    """A program with mistakes in it: each line that expects an error must have one, and no other line may."""
    programs = ("typed.mts", "typed.cts")
    for program in programs:
        shutil.copy(HERE / "typed.ts", tmp_path / program)
    compile_strictly(package, project, tmp_path, {"module": "nodenext"}, *programs)


def test_the_example_of_its_readme_compiles(package: Path, project: Path, tmp_path: Path) -> None:
    [example] = [block.text for block in blocks(SOURCE / "README.md") if block.language == "tsx"]
    (tmp_path / "example.tsx").write_text(example, encoding="utf-8")
    shutil.copy(HERE / "platform.d.ts", tmp_path)
    (tmp_path / "dictionary.ts").write_text("export declare function findEntry(word: string): Promise<{meaning: string}>;")
    (tmp_path / "session.ts").write_text("export declare function readToken(): Promise<string | null>;")
    bundled = {"module": "ESNext", "moduleResolution": "bundler", "jsx": "preserve"}
    compile_strictly(package, project, tmp_path, bundled, "example.tsx", "platform.d.ts")


def compile_strictly(package: Path, project: Path, folder: Path, options: dict[str, Any], *files: str) -> None:
    """Compile files of a folder as an app with the packed package does."""
    (folder / "node_modules").symlink_to(project / "node_modules")
    settings = {"compilerOptions": STRICT | options | {"lib": ["ES2022", "DOM"]}, "files": files}
    (folder / "tsconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    run(folder, "node", str(package / "node_modules/typescript/bin/tsc"), "-p", ".")


def test_its_own_tests(package: Path) -> None:
    told = run(package, "node", "--test")
    assert "# fail 0" in told
    assert "# pass 0" not in told
