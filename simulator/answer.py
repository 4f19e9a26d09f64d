"""From what was asked to what is answered, in no provider's words: pure functions of the request and its script."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from simulator import words
from simulator.schema import fill
from simulator.script import Script


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the client offers; `schema` is the JSON Schema of its arguments."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """A valid request.

    `question` is the last user message's text without directives, `directive` what stood in those; `results` are the tool
    results behind that message. `options` holds what only this provider's format knows.
    """

    provider: str
    model: str
    stream: bool
    question: str
    directive: str | None
    results: tuple[str, ...]
    tools: tuple[Tool, ...]
    choice: Literal["auto", "none", "required"]
    forced: str | None
    max_tokens: int | None
    input_tokens: int
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a client's tool."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A made-up citation."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the reply says. `output_tokens` is all output, reasoning included.

    `finish` is `stop`, `tool_calls`, `length`, `refusal`, `blocked`, `none`, or a provider's own word.
    """

    text: tuple[str, ...]
    reasoning: tuple[str, ...]
    calls: tuple[ToolCall, ...]
    sources: tuple[Source, ...]
    finish: str
    input_tokens: int
    reasoning_tokens: int
    output_tokens: int


def answer(ask: Ask, script: Script) -> Answer:
    """Decide what is answered."""
    asked = words.triggers(ask.question)
    word = words.words_asked(ask.question)[0]
    calls = _calls(ask, script, asked)
    text = _text(ask, script, asked, word, bool(calls))
    reasoning: tuple[str, ...] = ()
    if script.reasoning is not None:
        reasoning = words.pieces(script.reasoning)
    elif "think" in asked:
        reasoning = words.thoughts(word)
    finish = _finish(script, asked, bool(calls))
    budget = ask.max_tokens
    if budget is not None and len(reasoning) + len(text) > budget:
        reasoning, text = reasoning[:budget], text[: max(0, budget - len(reasoning))]
        finish, calls = script.finish or "length", ()
    spent = sum(8 + len(call.name) // 4 + len(str(call.arguments)) // 4 for call in calls)
    return Answer(
        text=text,
        reasoning=reasoning,
        calls=calls,
        sources=_sources(word, script, asked, bool(calls)),
        finish=finish,
        input_tokens=ask.input_tokens,
        reasoning_tokens=len(reasoning),
        output_tokens=len(reasoning) + len(text) + spent,
    )


def _calls(ask: Ask, script: Script, asked: frozenset[str]) -> tuple[ToolCall, ...]:
    number = script.tools
    if number is None:
        plain = script.reply is None and script.tokens is None and "refuse" not in asked
        number = (2 if "parallel" in asked else 1) if plain and not ask.results else 0
    if not ask.tools or ask.choice == "none" or number == 0:
        return ()
    tool = next((tool for tool in ask.tools if tool.name == ask.forced), ask.tools[0])
    about = list(words.words_asked(ask.question))
    while len(about) < number:
        about.append(words.another(about[-1]))
    return tuple(ToolCall(tool.name, fill(tool.schema, about[index], index + 1)) for index in range(number))


def _text(ask: Ask, script: Script, asked: frozenset[str], word: str, calling: bool) -> tuple[str, ...]:
    if script.reply is not None:
        return words.pieces(script.reply)
    if script.tokens is not None:
        return words.counted(script.tokens)
    if "refuse" in asked or script.finish in ("refusal", "blocked"):
        return words.refusing()
    if calling:
        return words.calling(word)
    if ask.results:
        return words.from_results(ask.results)
    return words.about_at_length(word) if "long" in asked else words.about(word)


def _finish(script: Script, asked: frozenset[str], calling: bool) -> str:
    if script.finish is not None:
        return script.finish
    if "refuse" in asked:
        return "refusal"
    if calling:
        return "tool_calls"
    return "length" if "long" in asked else "stop"


def _sources(word: str, script: Script, asked: frozenset[str], calling: bool) -> tuple[Source, ...]:
    number = script.sources
    if number is None:
        number = 2 if "sources" in asked and not calling else 0
    titles = ("لسان العرب", "القاموس المحيط", "تاج العروس", "الصحاح")
    return tuple(
        Source(f"{titles[index % len(titles)]}: {word}", f"https://example.com/maajim/{index + 1}") for index in range(number)
    )
