"""Requests made up from the document, sane and insane: no server error, and every answer is as described."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, assume, settings

from gateway.web.openapi import build_document
from tests.conftest import TEMPLATE, new_database
from tests.lazily import Lazily
from tests.running import serving

if TYPE_CHECKING:
    import schemathesis
    from schemathesis.generation.hypothesis import builder
    from schemathesis.specs.openapi import checks
else:
    schemathesis = Lazily("schemathesis")
    builder = Lazily("schemathesis.generation.hypothesis.builder")
    checks = Lazily("schemathesis.specs.openapi.checks")

TOKEN = "an-admin-token-for-tests"
ENVIRON = {
    "ADMIN_TOKEN": TOKEN,
    "JWT_SECRET": "s" * 32,
    "GOOGLE_CLIENT_ID": "app",
    "APPLE_BUNDLE_ID": "app",
    "AUTH_RATE_LIMIT": "none",
}
EXAMPLES = 8
LONGEST_LINE = 8000
"""Of a request line, in bytes: beyond about this the server says 400 before anything else looks at it."""

OPERATIONS = [f"{method.upper()} {path}" for path, methods in build_document()["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def document() -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_dict(build_document())


@pytest.fixture(scope="module")
def base_url(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway that wants a token and runs in a thread, for a client that is not asynchronous."""
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    found: list[str] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        data_dir = tmp_path_factory.mktemp("data")
        async with new_database(postgres_url, TEMPLATE) as url, serving(url, data_dir, **ENVIRON) as gateway:
            found.append(gateway.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    yield found[0]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """One connection for all requests, without cookies: they would be what the document says nothing of."""
    with requests.Session() as session:
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        yield session


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def answer_is_as_described(case: schemathesis.Case[Any], base_url: str, session: requests.Session) -> None:
    assume(len(requests.Request(**case.as_transport_kwargs(base_url=base_url)).prepare().path_url) < LONGEST_LINE)
    # A conversation may be called "export": it can be deleted.
    ambiguous = [checks.allow_header_conformance] if case.path == "/conversations/export" else []
    case.call_and_validate(
        base_url=base_url,
        session=session,
        headers={"Authorization": f"Bearer {TOKEN}"},
        # Much that the document cannot forbid is refused: cursors and ids that were never given, models not on offer.
        excluded_checks=[checks.positive_data_acceptance, *ambiguous],
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_answers_are_as_described(
    operation: str, document: schemathesis.BaseSchema, base_url: str, session: requests.Session
) -> None:
    """Its examples are made up here: `@schema.parametrize()` has every worker make up those of all operations to begin with."""
    method, path = operation.split()
    config = builder.HypothesisTestConfig(project=document.config, modes=list(builder.HypothesisTestMode))
    test = builder.create_test(operation=document[path][method], test_func=answer_is_as_described, config=config)
    test(base_url=base_url, session=session)
