"""The system user PostgreSQL runs as when the gateway runs as root, which PostgreSQL refuses to do."""

import os
import pwd
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SYSTEM_USER: Final = "pgserver"
_STEP_S = 30.0


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot run: one line for the operator, saying what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """A system user and its group."""

    name: str
    uid: int
    gid: int

    @property
    def popen(self) -> dict[str, Any]:
        """What makes `subprocess` run a command as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or directory to this user."""
        os.chown(path, self.uid, self.gid)

    def can_use(self, folder: Path, program: Path) -> bool:
        """Whether this user may enter the folder and run the program, found out by doing both."""
        command = ["/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(folder), str(program)]
        return subprocess.run(command, capture_output=True, check=False, timeout=_STEP_S, **self.popen).returncode == 0  # noqa: S603 - our own words


def account_for(cluster: Path) -> Account | None:
    """Whom to run as: the owner of an existing cluster, else `SYSTEM_USER`, made if need be; None when not root.

    Raises `EmbeddedError`.
    """
    if os.geteuid() != 0:
        return None
    try:
        owner = cluster.stat().st_uid
    except FileNotFoundError:
        owner = 0
    if owner != 0:
        try:
            return _account(pwd.getpwuid(owner))
        except KeyError:
            raise EmbeddedError(f"{cluster} belongs to user id {owner}, which this system does not know") from None
    return _system_user()


def let_through(folder: Path, account: Account) -> None:
    """Let the account's group pass through a folder of ours (not read it)."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if folder.stat().st_uid == os.geteuid() and not mode & stat.S_IXOTH:
        os.chown(folder, -1, account.gid)
        folder.chmod(mode | stat.S_IXGRP)


def _system_user() -> Account:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    for _ in range(2):
        try:
            return _account(pwd.getpwnam(SYSTEM_USER))
        except KeyError:
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run(command, capture_output=True, check=False, timeout=_STEP_S)  # noqa: S603 - our own words
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and its system user {SYSTEM_USER} cannot be created: "
        "start the gateway as another user, or set DATABASE_URL"
    )


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
