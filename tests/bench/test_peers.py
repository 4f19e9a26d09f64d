"""Other gateways can be measured beside the gateway: nginx, the one that needs no environment of its own."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") is None, reason="nginx is not installed")
async def test_nginx_is_measured_and_what_is_not_installed_is_said(database_url: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.peers", "--python", str(tmp_path / "bin" / "python"), "--scale=0.01", "--times=1", "--only=burst"),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    text = out.decode()
    assert "litellm is not installed" in text
    assert "tensorzero is not installed" in text
    row, memory = (line.split() for line in text.splitlines() if line.startswith("nginx "))
    assert (int(row[-2]), int(row[-1])) == (10, 0), text
    assert float(memory[-1]) > 0
    assert "first error" not in text
