"""Reading the project's Markdown: fenced blocks, commands with their printed output, tables, links."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

# What differs from one run to the next; anything else that the README prints must come as printed.
VOLATILE = {"message_id", "turn_id", "id", "next_cursor", "created_at", "updated_at", "timestamp", "request_id"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `line` is where it begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Example:
    """Commands to be typed as they stand, and what they print (None: the document does not say)."""

    command: str
    printed: Block | None
    line: int

    def __str__(self) -> str:
        return f"line-{self.line}"


def blocks(path: Path) -> list[Block]:
    """Every fenced block of a document."""
    text = path.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 1) for found in _FENCE.finditer(text)]


def examples(path: Path) -> list[Example]:
    """The `bash` blocks; a `json` or `text` block right behind one is what it prints. `sh` blocks are not meant to be run."""
    found = blocks(path)
    following = [*found[1:], None]
    return [
        Example(block.text, after if after is not None and after.language in ("json", "text") else None, block.line)
        for block, after in zip(found, following, strict=True)
        if block.language == "bash"
    ]


def prints(expected: Block, output: str) -> bool:
    """Whether the output is what the document prints: `…` stands for anything, in texts and between them."""
    if expected.language == "json":
        return _same(json.loads(expected.text), json.loads(output))
    passages = expected.text.strip().split("\n\n…\n\n")
    wanted = "\n\n(?:.*\n\n)?".join(".*".join(re.escape(part) for part in passage.split("…")) for passage in passages)
    return re.fullmatch(wanted, output.replace("\r", "").strip(), re.DOTALL) is not None


def _same(expected: Any, actual: Any, name: str = "") -> bool:
    if expected == "…":
        return True
    if isinstance(expected, dict):
        if not isinstance(actual, dict) or not ("…" in expected or expected.keys() == actual.keys()):
            return False
        return all(key in actual and _same(value, actual[key], key) for key, value in expected.items() if key != "…")
    if isinstance(expected, list):
        wanted = [value for value in expected if value != "…"]
        if not isinstance(actual, list) or not (len(wanted) == len(actual) or "…" in expected):
            return False
        return len(wanted) <= len(actual) and all(_same(*pair) for pair in zip(wanted, actual, strict=False))
    if name in VOLATILE or isinstance(expected, float):
        return type(expected) is type(actual)
    if isinstance(expected, str) and "…" in expected:
        return isinstance(actual, str) and all(part in actual for part in expected.split("…"))
    return bool(expected == actual)


def section(path: Path, heading: str) -> str:
    """The text under a heading of the second level, up to the next one."""
    return path.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table_rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row, without heads and rulers."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        ruler = number + 1 < len(lines) and lines[number + 1].startswith("| ---")
        if line.startswith("| ") and not line.startswith("| ---") and not ruler:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def links(path: Path) -> list[str]:
    """Targets of links within the project: files and headings."""
    return [target for target in _LINK.findall(path.read_text(encoding="utf-8")) if "://" not in target]


def anchors(path: Path) -> set[str]:
    """What `#…` may name in a document: headings as GitHub spells them."""
    headings = _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
