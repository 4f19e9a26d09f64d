"""The benchmark runs: not how fast anything is, but that every row can be measured."""

import asyncio
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def test_every_row_of_the_benchmark_can_be_measured(database_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench", "--scale=0.01", "--times=1", "--tokens=10"),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    text = out.decode()
    for name in ("open streams", "JSON turn", "burst stream", "paced stream", "first token"):
        rows = text.partition(f"\n{name}")[2].partition("\n\n")[0]
        assert "gateway" in rows, text
    assert "first error" not in text
    assert set(re.findall(r"errors (\d+)$", text, re.MULTILINE)) == {"0"}
