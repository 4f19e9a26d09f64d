"""What docker-compose.yml runs before and behind its replicas, without Docker: nginx and PgBouncer with the files of deploy/."""

import configparser
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.documents import ROOT

NGINX = ROOT / "deploy" / "nginx"
PGBOUNCER = ROOT / "deploy" / "pgbouncer" / "pgbouncer.ini"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def program(name: str) -> str | None:
    """Where a server's program is, which an ordinary user's PATH may leave out."""
    return shutil.which(name, path=_PATH)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def replaced(text: str, changes: dict[str, str]) -> str:
    """`text` with each passage, which must stand there once, replaced."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def nginx_conf(name: str, folder: Path, changes: dict[str, str]) -> Path:
    """A whole configuration around deploy/nginx/`name`, which writes to `folder` alone."""
    changes = {"/etc/nginx/gateway/proxy.conf": str(NGINX / "proxy.conf")} | changes
    text = replaced((NGINX / name).read_text(encoding="utf-8"), changes)
    temporary = "".join(f"{each}_temp_path {folder}/{each};\n" for each in _TEMPORARY)
    user = "user root;\n" if os.geteuid() == 0 else ""
    main = folder / "nginx.conf"
    main.write_text(
        f"{user}worker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n",
        encoding="utf-8",
    )
    return main


@contextmanager
def running_nginx(ports: list[int]) -> Iterator[str]:
    """compose.conf before replicas at these ports of this machine; its address."""
    nginx = program("nginx")
    assert nginx is not None
    port = free_port()
    servers = "\n    ".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
    with tempfile.TemporaryDirectory(prefix="gw-nginx-") as home:
        changes = {
            "server gateway:8000 resolve max_fails=0;": servers,
            "listen 80;": f"listen 127.0.0.1:{port};",
        }
        command = [nginx, "-p", home, "-e", f"{home}/error.log", "-c", str(nginx_conf("compose.conf", Path(home), changes))]
        # It returns when it listens.
        subprocess.run(command, check=True, timeout=30)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            subprocess.run([*command, "-s", "stop"], check=True, timeout=30)


@contextmanager
def running_pgbouncer(database_url: str) -> Iterator[str]:
    """deploy/pgbouncer before a PostgreSQL on a unix socket; the DATABASE_URL that leads through it."""
    pgbouncer = program("pgbouncer")
    assert pgbouncer is not None
    address = urlsplit(database_url)
    name, port = address.path.removeprefix("/"), free_port()
    config = configparser.ConfigParser(interpolation=None)
    config.read(PGBOUNCER, encoding="utf-8")
    sockets = Path(parse_qs(address.query)["host"][0])
    config["databases"] = {name: f"host={sockets} dbname={name}"}
    with tempfile.TemporaryDirectory(prefix="gw-pgbouncer-") as home, ExitStack() as stack:
        users, file = Path(home, "userlist.txt"), Path(home, "pgbouncer.ini")
        users.write_text(f'"{address.username}" ""\n', encoding="utf-8")
        config["pgbouncer"].update(listen_addr="127.0.0.1", listen_port=str(port), unix_socket_dir="")
        config["pgbouncer"].update(auth_type="trust", auth_file=str(users))
        with file.open("w", encoding="utf-8") as out:
            config.write(out)
        Path(home).chmod(0o755)
        # It refuses to be root; whoever runs PostgreSQL may use its socket.
        user = ["-u", sockets.owner()] if os.geteuid() == 0 else []
        process = stack.enter_context(subprocess.Popen([pgbouncer, *user, str(file)], stderr=subprocess.PIPE, text=True))
        stack.callback(process.kill)
        assert process.stderr is not None
        assert any("process up" in line for line in process.stderr)
        yield f"postgresql://{address.username}@127.0.0.1:{port}/{name}?pgbouncer=true"


@contextmanager
def database_for(url: str) -> Iterator[str]:
    """The address of a PostgreSQL through PgBouncer, where that is installed."""
    if program("pgbouncer") is None:
        yield url
    else:
        with running_pgbouncer(url) as pooled:
            yield pooled
