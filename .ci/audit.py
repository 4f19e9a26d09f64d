"""Looks the pinned versions up in the vulnerability database. A finding fails; a database out of reach is only said.

pip-audit alone cannot be trusted with that: offline it dies with a traceback, and behind a mirror that holds no advisories it
reports "no known vulnerabilities" about packages that it never looked up.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

REQUIREMENTS = ("requirements.txt", "requirements-otel.txt", "requirements-dev.txt")
TIMEOUT_S = 300
_OUT_OF_REACH = (
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "Max retries exceeded",
    "ServiceError",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to print, and whether the check failed."""

    lines: tuple[str, ...]
    failed: bool


def judge(report: Any) -> Verdict:
    """Read pip-audit's JSON: every dependency has either `vulns` or a `skip_reason`."""
    dependencies = report["dependencies"]
    found = tuple(
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in dependencies
        for flaw in one.get("vulns", ())
    )
    if found:
        return Verdict(found, failed=True)
    unknown = [one["name"] for one in dependencies if "skip_reason" in one]
    looked_up = len(dependencies) - len(unknown)
    lines = [f"audit: no known vulnerability in {looked_up} packages"] if looked_up else []
    if unknown:
        lines.append(f"audit: WARNING: {len(unknown)} packages could not be looked up from here ({', '.join(unknown[:3])} …)")
    return Verdict(tuple(lines), failed=False)


def judge_failure(stderr: str) -> Verdict:
    """pip-audit gave no report: out of reach, or a fault of its own?"""
    last = (stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    if any(word in stderr for word in _OUT_OF_REACH):
        return Verdict(
            (f"audit: WARNING: the vulnerability database is out of reach, nothing was audited ({last[:120]})",), failed=False
        )
    return Verdict((f"audit: pip-audit failed: {last}",), failed=True)


def main() -> int:
    """Audit and print; 1 on a finding."""
    files = [word for name in REQUIREMENTS for word in ("-r", name)]
    command = [sys.executable, "-m", "pip_audit", *files, "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner", "off"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - our own words
    except subprocess.TimeoutExpired:
        verdict = judge_failure("ReadTimeout: no answer")
    else:
        verdict = judge(json.loads(run.stdout)) if run.stdout.startswith("{") else judge_failure(run.stderr)
    for line in verdict.lines:
        print(line)  # noqa: T201 - a command
    return int(verdict.failed)


if __name__ == "__main__":
    sys.exit(main())
