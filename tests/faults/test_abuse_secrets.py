"""Secrets are planted wherever there are any, and looked for wherever something comes out; lines in the log are not forged."""

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from run import main
from simulator import Script, parse_text
from tests.access.issuer_server import Issuer
from tests.access.issuing import GOOGLE_CLIENT, claims, public_jwk, signed
from tests.faults.wire import lines
from tests.processes import GatewayProcess, Launch
from tests.redis_server import RedisServer
from tests.running import PROVIDERS
from tests.web.callers import Headers, basic, bearer

MARK = "PL4NT3D"
GOOD = {"message": "ما معنى «كتاب»؟"}
ADMIN, APP = f"{MARK}-admin-0123456789", f"{MARK}-key-of-the-app"
PASSWORD = f"{MARK}-pa%24s%2Fword"
SECRETS = {
    **{f"{name.upper()}_API_KEY": f"{MARK}-{name}-1,{MARK}-{name}-2" for name in PROVIDERS},
    "ADMIN_TOKEN": ADMIN,
    "API_KEYS": f"app:{APP},web:{MARK}-key-of-the-web",
    "JWT_SECRET": f"{MARK}-first-secret-of-32-bytes-and-more,{MARK}-second-secret-of-32-bytes-and-more",
}
FORGED = '\n00:00:00 ERROR   FORGED\r\n{"level":"ERROR","message":"FORGED"}\u2028FORGED\x1b[2J'


class Told:
    """Everything that came out."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []

    def add(self, where: str, text: str) -> None:
        self.texts.append((where, text))

    async def hear(self, response: httpx.Response) -> None:
        """See `httpx` on event hooks."""
        await response.aread()
        where = f"{response.request.method} {response.request.url}: {response.status_code}"
        self.add(where, f"{response.headers!r}\n{response.text}")

    def check(self) -> None:
        assert len(self.texts) > 20
        assert [(where, text[:200]) for where, text in self.texts if MARK in text] == []


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    made.keys = [public_jwk("k1")]
    async with made.running():
        yield made


@pytest.fixture
def told() -> Told:
    return Told()


def with_password(url: str) -> str:
    """An address with a password, which a server that trusts everybody does not ask for."""
    return url.replace("postgres@", f"postgres:{PASSWORD}@")


async def good_and_bad_turns(gateway: GatewayProcess, caller: Headers) -> None:
    bodies = [GOOD | {"provider": provider, "conversation_id": f"conv-{provider}"} for provider in PROVIDERS]
    for body in bodies:
        for path in ("/chat", "/chat/stream"):
            assert (await gateway.client.post(path, json=body, headers=caller)).status_code == 200
    for provider, body in zip(PROVIDERS, bodies, strict=True):
        key = f"{MARK}-{provider}-1"
        for script in ("fault=reset@mid", f'fault=error@mid message="no {key}"', "fault=garbage@mid", "body=html status=502"):
            directed = body | {"message": f"[[sim: {script.replace(key, 'key')}]]"}
            gateway.simulator.script(parse_text(script))
            await gateway.client.post("/chat/stream", json=directed | {"conversation_id": f"bad-{provider}"}, headers=caller)
    told = 0
    for status in (400, 500, 429, 401):
        for provider, body in zip(PROVIDERS, bodies, strict=True):
            for number in (1, 2):
                # Each key is repeated by whoever refuses it.
                words = f"Incorrect API key provided: {MARK}-{provider}-{number}. {FORGED}"
                gateway.simulator.script(Script(status=status, message=words, key=f"{MARK}-{provider}-{number}"))
            answer = await gateway.client.post("/chat/stream", json=body, headers=caller)
            assert answer.status_code >= 400
            gateway.simulator.reset()
            told += answer.status_code in (400, 502, 503)
    assert told == 16


async def every_address(gateway: GatewayProcess, *callers: Headers) -> None:
    for headers in callers:
        for path in (
            "/",
            "/health",
            "/metrics",
            "/stats",
            "/openapi.json",
            "/docs",
            "/conversations",
            "/conversations/conv-0",
            "/auth/me",
        ):
            await gateway.client.get(path, headers=headers)
    listed = await gateway.client.get("/conversations?limit=500", headers=bearer(ADMIN))
    for conversation in listed.json()["conversations"]:
        await gateway.client.get(f"/conversations/{conversation['id']}", headers=bearer(ADMIN))


async def refusals(gateway: GatewayProcess) -> None:
    """Requests that are wrong with a secret in them, which no answer may repeat."""
    for headers in (bearer(ADMIN + "x"), basic(APP), {"Authorization": ADMIN}, {"X-Request-Id": f"{ADMIN}/x"}):
        await gateway.client.post("/chat", json={"message": 5}, headers=headers)
    for body in ({"provider": ADMIN}, {"model": APP}, {"messages": [{"role": ADMIN}]}, {"tool_choice": ADMIN}, {ADMIN: APP}):
        answer = await gateway.client.post("/chat", json={"message": "a", "provider": "openai"} | body, headers=bearer(APP))
        assert answer.status_code in (200, 400, 422)
    assert (await gateway.client.post("/chat", content=f"{{{ADMIN}".encode(), headers=bearer(APP))).status_code == 400
    for head in (
        f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN}\x00",
        f"POST /?id_token={ADMIN} HTTP/1.1\r\nHost : a",
    ):
        async with lines(gateway) as [line]:
            await line.say(f"{head}\r\n\r\n".encode())
            assert MARK.encode() not in await line.rest()


async def sign_ins(gateway: GatewayProcess, issuer: Issuer) -> Headers:
    """Both ways of signing in, well and badly; the headers of who signed in."""
    for token in (signed(claims(aud=f"{MARK}-audience")), signed(claims(), "k2", kid=f"{MARK}{FORGED}"), f"{MARK}.a.b"):
        await gateway.client.post("/auth/google/mobile", params={"id_token": token})
        await gateway.client.post("/auth/apple/mobile", json={"identity_token": token, "user_id": MARK})
    answer = await gateway.client.post("/auth/google/mobile", params={"id_token": signed(claims())})
    assert answer.status_code == 200
    issuer.status = 500
    return bearer(answer.json()["token"])


def arguments_of(pid: int) -> list[str]:
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return [" ".join(process.cmdline()) for process in family]


async def dump(gateway: GatewayProcess) -> str:
    """Every row of the log."""
    tables = ("conversations", "messages", "tool_calls", "users", "daily_usage", "idempotency_keys")
    return "\n".join([str(await gateway.rows(f"SELECT t::text FROM {table} t")) for table in tables])


def files_in(folder: Path) -> str:
    return "\n".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def check_lines(lines: list[str], form: str) -> None:
    """Every line is a record of the log, or belongs to one's traceback, or says that the server is ready."""
    for line in "".join(lines).split("\n"):
        if not line or line.startswith("Gateway ready at "):
            continue
        if form == "json":
            assert json.loads(line)["level"] in ("DEBUG", "INFO", "WARNING", "ERROR")
        else:
            assert re.match(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) +\S|    ", line), line
            assert not line.startswith("00:00:00")


@pytest.mark.parametrize(("form", "workers"), [("console", "1"), ("json", "2")])
async def test_a_run_with_every_success_and_every_failure(
    launch: Launch,
    told: Told,
    issuer: Issuer,
    redis_server: RedisServer,
    database_url: str,
    tmp_path: Path,
    form: str,
    workers: str,
) -> None:
    redis_server.ask("CONFIG", "SET", "requirepass", f"{MARK}-redis")
    settings = SECRETS | {
        "DATABASE_URL": with_password(database_url),
        "REDIS_URL": redis_server.url.replace("unix://", f"unix://:{MARK}-redis@"),
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": form,
        "WEB_CONCURRENCY": workers,
        "GOOGLE_JWKS_URL": issuer.url,
        "GOOGLE_CLIENT_ID": GOOGLE_CLIENT,
        "MAX_RETRIES": "0",
        "AUTH_RATE_LIMIT": "none",
        "DATA_DIR": str(tmp_path / "data"),
    }
    gateway = await launch(**settings)
    gateway.client.event_hooks = {"response": [told.hear]}
    assert gateway.process is not None
    told.add("arguments", "\n".join(arguments_of(gateway.process.pid)))
    user = await sign_ins(gateway, issuer)
    await good_and_bad_turns(gateway, bearer(APP))
    await gateway.client.post("/chat", json=GOOD, headers=user)
    await refusals(gateway)
    await every_address(gateway, {}, bearer(APP), bearer(ADMIN), basic(ADMIN), user)
    redis_server.kill()
    await gateway.client.post("/chat", json=GOOD, headers=user)
    await gateway.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    await gateway.client.post("/chat", json=GOOD, headers=bearer(APP))
    rows = await dump(gateway)
    assert "Incorrect API key provided: [key]." in rows
    told.add("the log's rows", rows)
    await gateway.close()
    told.add("what it wrote", "".join(gateway.said))
    told.add("its files", files_in(tmp_path / "data"))
    told.check()
    check_lines(gateway.said, form)


async def test_a_database_that_is_never_there(launch: Launch, told: Told) -> None:
    away = f"postgresql://postgres:{PASSWORD}@127.0.0.1:1/nothing?sslpassword={MARK}"
    gateway = await launch(**SECRETS, DATABASE_URL=away, LOG_LEVEL="DEBUG", STORE_WAIT_S="0.05")
    gateway.client.event_hooks = {"response": [told.hear]}
    for path in ("/chat", "/chat/stream"):
        assert (await gateway.client.post(path, json=GOOD, headers=bearer(APP))).status_code == 200
    for path in ("/", "/health", "/metrics", "/stats", "/conversations", "/auth/me") * 4:
        await gateway.client.get(path, headers=bearer(ADMIN))
    await gateway.close()
    told.add("what it wrote", "".join(gateway.said))
    told.check()


START: dict[str, dict[str, str]] = {
    "a short secret": {"JWT_SECRET": MARK},
    "a key twice": {"API_KEYS": f"a:{MARK},b:{MARK}"},
    "a key without a name": {"API_KEYS": MARK},
    "the operator's token as a key": {"API_KEYS": f"a:{MARK}", "ADMIN_TOKEN": MARK},
    "no address of a database": {"DATABASE_URL": f"mysql://u:{MARK}@h/x"},
    "a database's port": {"DATABASE_URL": f"postgres://u:{MARK}@h:port/x"},
    "no address of a Redis": {"REDIS_URL": f"http://:{MARK}@h"},
    "a Redis' port": {"REDIS_URL": f"redis://:{MARK}/x@h:port"},
    "a password where a provider is": {"DEFAULT_PROVIDER": "x", "OPENAI_API_KEY": MARK},
}


@pytest.mark.parametrize("environ", START.values(), ids=START.keys())
def test_a_start_that_fails_names_the_setting_and_not_its_value(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", environ)
    monkeypatch.chdir(tmp_path)
    assert main(["--port", "0", "--data-dir", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1
    assert any(name in said.err for name in environ)
    assert MARK not in said.out + said.err
