"""How a provider's failure reaches the client: its own HTTP status while nothing has been said, `failed` afterwards."""

import pytest

from simulator import Fault, Script
from tests.running import PROVIDERS, Gateway, Start, Told
from tests.web.shapes import check_problem, check_stream

QUESTION = "ما معنى كلمة «كتاب»؟"
EARLY = [
    (Script(status=401), "provider_error"),
    (Script(status=403), "provider_error"),
    (Script(status=500), "provider_error"),
    (Script(status=500, body="html"), "provider_error"),
    (Script(status=502, body="empty"), "provider_error"),
    (Script(status=503, body="garbage"), "provider_overloaded"),
    (Script(body="garbage"), "provider_error"),
    (Script(status=429, retry_after=7), "provider_overloaded"),
    (Script(status=529), "provider_overloaded"),
    (Script(status=400), "provider_rejected"),
    (Script(status=413), "provider_rejected"),
    (Script(fault=Fault("reset", "before-head")), "provider_error"),
    (Script(fault=Fault("close", "before-head")), "provider_error"),
    (Script(fault=Fault("garbage", "before-head")), "provider_error"),
    (Script(fault=Fault("close", "after-head")), "provider_error"),
]
MID_STREAM = ["reset", "close", "garbage", "error", "bare-error"]


@pytest.fixture
async def once(start_gateway: Start) -> Gateway:
    """A gateway that asks a provider only once."""
    return await start_gateway(MAX_RETRIES="0")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_early_failures_keep_their_status(once: Gateway, subtests: pytest.Subtests, provider: str) -> None:
    for script, code in EARLY:
        for path in ("/chat", "/chat/stream"):
            with subtests.test(script=repr(script), path=path):
                once.simulator.script(script)
                answer = await once.client.post(path, json={"message": QUESTION, "provider": provider})
                problem = check_problem(answer, code)
                assert answer.headers["X-Turn-Id"] == problem["turn_id"]
                if script.retry_after is not None:
                    assert answer.headers["Retry-After"] == "7"
                rows = await once.rows("SELECT role, status FROM messages WHERE turn_id = $1 ORDER BY id", problem["turn_id"])
                assert [(row["role"], row["status"]) for row in rows] == [("user", "failed"), ("assistant", "failed")]


async def test_a_blocked_prompt_is_the_clients_error(once: Gateway) -> None:
    for path in ("/chat", "/chat/stream"):
        once.simulator.script(Script(finish="blocked"))
        answer = await once.client.post(path, json={"message": QUESTION, "provider": "google"})
        check_problem(answer, "provider_rejected")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_failures_in_mid_stream_end_in_failed(once: Gateway, subtests: pytest.Subtests, provider: str) -> None:
    for kind in MID_STREAM:
        with subtests.test(fault=kind):
            body = {"message": f"{QUESTION} [[sim: fault={kind}@mid]]", "provider": provider}
            told = Told(await once.events(body))
            check_stream(told)
            assert told.names[-1] == "failed"
            assert told.last["code"] in ("provider_error", "provider_overloaded")
            assert told.last["retryable"] is True
            assert told.text() != ""
            [reply] = await once.rows("SELECT * FROM messages WHERE turn_id = $1 AND role = 'assistant'", told.last["turn_id"])
            assert (reply["status"], reply["content"]) == ("failed", told.text())


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_whole_reply_cut_short_is_a_failure(once: Gateway, provider: str) -> None:
    for kind in ("reset", "close"):
        body = {"message": f"{QUESTION} [[sim: fault={kind}@mid]]", "provider": provider}
        check_problem(await once.client.post("/chat", json=body), "provider_error")


async def test_a_silent_provider_times_out(start_gateway: Start) -> None:
    gateway = await start_gateway(MAX_RETRIES="0", FIRST_TOKEN_TIMEOUT_S="0.05", IDLE_TIMEOUT_S="0.05", TURN_TIMEOUT_S="0.2")
    early = {"message": f"{QUESTION} [[sim: fault=stall@before-head]]"}
    check_problem(await gateway.client.post("/chat", json=early), "provider_timeout")
    check_problem(await gateway.client.post("/chat/stream", json=early), "provider_timeout")
    late = Told(await gateway.events({"message": f"{QUESTION} [[sim: fault=stall@mid]]"}))
    check_stream(late)
    assert late.last["code"] == "provider_timeout"
    await gateway.simulator.until(lambda simulator: all(call.outcome == "aborted" for call in simulator.calls))


async def test_nothing_of_the_providers_own_words_reaches_the_client(once: Gateway) -> None:
    secret = "org-12345 exceeded its quota, see https://internal.example"
    for status in (400, 401, 429, 500):
        for path in ("/chat", "/chat/stream"):
            once.simulator.script(Script(status=status, message=secret))
            answer = await once.client.post(path, json={"message": QUESTION})
            assert answer.status_code >= 400
            assert "org-12345" not in answer.text
            shown = await once.client.get(f"/conversations?status=failed&q={'كتاب'}")
            assert "org-12345" not in shown.text


async def test_a_failed_turn_is_not_part_of_the_history(once: Gateway) -> None:
    once.simulator.script(Script(status=500))
    await once.client.post("/chat", json={"message": "سؤالٌ أوّل", "conversation_id": "conv-1"})
    await once.ask({"message": "سؤالٌ ثانٍ", "conversation_id": "conv-1"})
    sent = once.simulator.calls[-1].body["messages"]
    assert [entry["content"] for entry in sent] == ["سؤالٌ ثانٍ"]
