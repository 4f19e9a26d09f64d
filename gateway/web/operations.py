"""Every operation of the server, as data: what it takes, what it answers, how it fails. Here turns and the log."""

from typing import Final

from gateway.core.errors import ErrorCode
from gateway.web import examples, schemas
from gateway.web.chat_body import ChatBody
from gateway.web.conversations import Filters, ListQuery
from gateway.web.operation import NDJSON, REQUEST_ERRORS, SSE, TURN_ERRORS, Answer, Operation
from gateway.web.operations_openai import OPENAI
from gateway.web.operations_service import ACCOUNT, MONITORING, REFERENCE

TAGS: Final = {
    "chat": "Questions and their replies. A reply goes on being written, and is kept, whether or not anybody is reading it.",
    "openai": "The same for clients of OpenAI's Chat Completions: set their base URL to this server's `/v1`.",
    "log": "Conversations as they are stored. Callers see their own; the admin sees all.",
    "account": "Signing in with Google or Apple, and the account of who signed in.",
    "monitoring": "How the server fares.",
    "reference": "This description.",
}

_LOG_ERRORS: Final[tuple[ErrorCode, ...]] = ("invalid_request", "log_unavailable")

_STREAM: Final = Answer(
    200,
    "The reply as it is written. The first event is `start`; the last is one `done` or one `failed`. The texts of all `token` "
    "events joined are the `content` of `done`. Every event has an id; `: ping` comments keep the connection open.",
    media=SSE,
    headers=("X-Turn-Id",),
)
_NOTHING_LEFT: Final = Answer(204, "The event named by `Last-Event-ID` was the last one.", media=None)
_STOPPING: Final = Answer(202, "The turn is ending; its stream ends with `done`, status `stopped`.", schemas.Stopping)

_CHAT: Final = (
    Operation(
        "post",
        "/chat",
        "chat",
        "chat",
        "Ask, and get the whole reply",
        "Sends one question (or the results of tool calls) to a provider and answers when the reply is whole and logged.",
        (Answer(200, "The reply.", schemas.ChatReply, headers=("X-Turn-Id",)),),
        REQUEST_ERRORS,
        parameters=("Idempotency-Key", "Cache-Control"),
        body=ChatBody,
        body_examples=examples.REQUESTS,
        limited=True,
    ),
    Operation(
        "post",
        "/chat/stream",
        "chatStream",
        "chat",
        "Ask, and get the reply as it is written",
        "The same request as POST /chat. The head of the response waits for the provider's first output, so that an early "
        "failure has its own status. Repeated with `Last-Event-ID` or the same `Idempotency-Key`, it goes on with the same "
        "turn; the question is never asked twice.",
        (_STREAM, _NOTHING_LEFT),
        REQUEST_ERRORS,
        parameters=("Idempotency-Key", "Last-Event-ID", "Cache-Control"),
        body=ChatBody,
        body_examples=examples.REQUESTS,
        limited=True,
    ),
    Operation(
        "delete",
        "/chat/stream",
        "stopByKey",
        "chat",
        "Stop the turn of an Idempotency-Key",
        "For a client that has not yet learnt the turn's id. What has come so far is kept.",
        (_STOPPING,),
        (*TURN_ERRORS, "turn_ended"),
        parameters=("Idempotency-Key!",),
    ),
    Operation(
        "get",
        "/chat/stream/{turn_id}",
        "resumeStream",
        "chat",
        "Go on with a stream",
        "The events behind `Last-Event-ID`, each exactly once, then live; without it all of them. Works for running turns and, "
        "as long as the conversation is stored, for ended ones.",
        (_STREAM, _NOTHING_LEFT),
        TURN_ERRORS,
        parameters=("turn_id", "Last-Event-ID"),
        limited=True,
    ),
    Operation(
        "delete",
        "/chat/stream/{turn_id}",
        "stopTurn",
        "chat",
        "Stop a turn",
        "What has come so far is kept.",
        (_STOPPING,),
        (*TURN_ERRORS, "turn_ended"),
        parameters=("turn_id",),
    ),
)

_LOG: Final = (
    Operation(
        "get",
        "/conversations",
        "listConversations",
        "log",
        "List conversations",
        "Newest activity first. Filters can be combined. With `q`, each has a `snippet` of what was found.",
        (Answer(200, "A page of conversations.", schemas.ConversationPage),),
        _LOG_ERRORS,
        query=ListQuery,
    ),
    Operation(
        "get",
        "/conversations/export",
        "exportConversations",
        "log",
        "Read all conversations",
        "One a line, by their ids, with their messages, gzipped for clients that accept it. A conversation that is there all the "
        "while comes exactly once. If it cannot be brought to its end the connection is cut, without the end that HTTP wants.",
        (Answer(200, "Lines of JSON; each is what the schema says.", schemas.StoredConversation, media=NDJSON),),
        _LOG_ERRORS,
        query=Filters,
    ),
    Operation(
        "get",
        "/conversations/{conversation_id}",
        "getConversation",
        "log",
        "Read a conversation",
        "Its messages in order, and the turns that still run in it.",
        (Answer(200, "The conversation.", schemas.Conversation),),
        ("not_found", "log_unavailable"),
        parameters=("conversation_id",),
    ),
    Operation(
        "delete",
        "/conversations/{conversation_id}",
        "deleteConversation",
        "log",
        "Delete a conversation",
        "Turns that run in it are stopped, and nothing of it is written afterwards.",
        (Answer(204, "It is gone.", media=None),),
        ("not_found", "log_unavailable"),
        parameters=("conversation_id",),
    ),
)

OPERATIONS: Final = (*_CHAT, *OPENAI, *_LOG, *ACCOUNT, *MONITORING, *REFERENCE)
