"""The reference: a valid document that names every address, and a page that needs nobody else."""

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from aiohttp import web
from httpx_sse import EventSource

from gateway.core.errors import KINDS
from gateway.core.jsontext import dumps
from gateway.core.request import ChatRequest
from gateway.web import examples, schemas
from gateway.web.chat_body import parse_chat
from gateway.web.openapi import build_document
from gateway.web.routes import add_routes
from tests.lazily import Lazily
from tests.running import Gateway, Told
from tests.web.shapes import EVENT_MODELS, check, check_stream

validator = Lazily("openapi_spec_validator")

NOT_DESCRIBED = ("/dashboard", "/playground")
"""Addresses of pages for people, not of the API."""


def described() -> set[tuple[str, str]]:
    """Every method and path of the document."""
    paths = build_document()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def served() -> set[tuple[str, str]]:
    """Every method and path of the router."""
    app = web.Application()
    add_routes(app)
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
        and route.method not in ("HEAD", "OPTIONS")
        and not route.resource.canonical.startswith(NOT_DESCRIBED)
    }


def test_the_document_names_exactly_what_is_served() -> None:
    assert described() - served() == set(), "described, but not served"
    assert served() - described() == set(), "served, but not described"


def test_the_document_is_openapi_3_1() -> None:
    validator.validate(build_document(), cls=validator.OpenAPIV31SpecValidator)


def test_every_error_code_is_described_somewhere() -> None:
    found: set[str] = set()
    for methods in build_document()["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {}):
                    assert str(KINDS[code].status) == status
                    found.add(code)
    assert KINDS.keys() - found == {"method_not_allowed"}, "405 belongs to no method"


def test_examples_of_requests_are_accepted() -> None:
    for example in examples.REQUESTS.values():
        assert isinstance(parse_chat(dumps(example["value"])), ChatRequest)


def test_examples_of_answers_are_what_the_models_say() -> None:
    check(schemas.ChatReply, examples.REPLY)
    check(schemas.StreamFailure, examples.FAILURE)
    check(schemas.ConversationPage, examples.PAGE)
    check(schemas.Conversation, examples.CONVERSATION)
    for name, data in examples.EVENTS.items():
        check(EVENT_MODELS[name], data)


def test_the_example_of_a_stream_is_one() -> None:
    [content] = build_document()["paths"]["/chat/stream"]["post"]["responses"]["200"]["content"].values()
    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=content["example"])
    told = Told(list(EventSource(answer).iter_sse()))
    check_stream(told)
    assert told.text() == told.last["content"] == examples.REPLY["content"]


def test_every_reference_leads_somewhere() -> None:
    document = build_document()
    references = set(re.findall(r"'\$ref': '#/components/(\w+)/([^']+)'", repr(document)))
    assert references
    for kind, name in references:
        assert name in document["components"][kind]
    named = {name for kind, name in references if kind == "schemas"}
    assert document["components"]["schemas"].keys() == named, "a schema that nothing uses"


async def test_the_document_as_served(gateway: Gateway) -> None:
    answer = await gateway.client.get("/openapi.json")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == build_document()


class Page(HTMLParser):
    """What a page loads, where it leads, and whether its tags close."""

    VOID = ("meta", "link", "img", "br", "hr", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
async def page(gateway: Gateway) -> tuple[Page, Any]:
    answer = await gateway.client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    parsed = Page()
    parsed.feed(answer.text)
    parsed.close()
    assert parsed.open == []
    return parsed, answer.headers


async def test_the_page_needs_nobody_else_and_runs_nothing(page: tuple[Page, Any]) -> None:
    parsed, headers = page
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script" not in policy
    assert parsed.tags.isdisjoint({"script", "iframe", "img", "link", "object", "form"})
    assert not [name for name in parsed.attributes if name.startswith("on") or name == "style"]
    assert {link for link in parsed.links if not link.startswith("#")} == {"openapi.json"}


async def test_the_page_tells_all_and_its_links_lead_somewhere(page: tuple[Page, Any]) -> None:
    parsed, _ = page
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    for _, path in described():
        assert path in parsed.text
    for code in KINDS.keys() - {"method_not_allowed"}:
        assert code in parsed.text
    assert "سَلْسَبيل" in parsed.text
