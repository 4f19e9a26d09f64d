"""A gateway that wants to know who asks, and everybody who might."""

import base64
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.access.sessions import Sessions
from gateway.access.tokens import Tokens
from gateway.web.gate import SESSION_COOKIE
from tests.access.issuing import by_hand
from tests.running import Gateway, Start

SECRET = "the secret that the tests sign their tokens with"
ADMIN = "the-operators-own-token"
API_KEY = "key-of-the-app-0123456789"
CLOSED = {"JWT_SECRET": SECRET, "ADMIN_TOKEN": ADMIN, "API_KEYS": f"app:{API_KEY}"}
UNLIMITED = {"DAILY_REQUEST_LIMIT": "0", "RATE_LIMIT": "none", "RESUME_RATE_LIMIT": "none", "AUTH_RATE_LIMIT": "none"}

Headers = dict[str, str]


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def basic(password: str, user: str = "anyone") -> Headers:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def session_cookie() -> Headers:
    """What a dashboard's browser sends."""
    return {"Cookie": f"{SESSION_COOKIE}={Sessions(ADMIN).create()}"}


def user_token(user_id: int, **options: Any) -> str:
    return Tokens([options.get("secret", SECRET)], options.get("lifetime_s", 3600), options.get("clock", time.time)).issue(
        user_id
    )


def unsigned_token(user_id: int) -> str:
    now = int(time.time())
    said = {"iss": "m3ajem-gateway", "aud": "m3ajem-gateway/chat", "sub": str(user_id), "iat": now, "exp": now + 3600}
    return by_hand({"alg": "none", "typ": "m3ajem+jwt"}, said)


@dataclass(slots=True)
class World:
    """A closed gateway; `user` makes people who signed in."""

    gateway: Gateway
    made: int = field(default=0)

    async def user(self) -> int:
        """A new user's id."""
        self.made += 1
        [row] = await self.gateway.rows(
            "INSERT INTO users (auth_provider, google_id) VALUES ('google', $1) RETURNING id", f"sub-{self.made}"
        )
        found: int = row["id"]
        return found

    async def signed_in(self) -> Headers:
        """A new user's headers."""
        return bearer(user_token(await self.user()))

    async def send(self, method: str, path: str, headers: Headers | None = None, **more: Any) -> httpx.Response:
        return await self.gateway.client.request(method, path, headers=headers or {}, **more)

    async def ask(self, headers: Headers, **body: Any) -> dict[str, Any]:
        """POST /chat; the reply, which must be a good one."""
        answer = await self.gateway.client.post("/chat", json={"message": "ما معنى «كتاب»؟", **body}, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


async def closed(start_gateway: Start, **environ: str) -> World:
    """A gateway with every kind of token configured, and no limits but those given."""
    return World(await start_gateway(**(CLOSED | UNLIMITED | environ)))
