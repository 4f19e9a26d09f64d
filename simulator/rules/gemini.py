"""What Gemini's generateContent refuses.

Sources: recorded and reported 400s (response counts, signatures, unknown names), the SDK's request types. Names may be in
camel or snake case, as protobuf's JSON takes both.
"""

import re
from typing import Any, NoReturn

from simulator.formats.base import RefusedError
from simulator.rules import names
from simulator.signatures import verdict

_FIELDS = names(
    "model contents tools toolConfig safetySettings systemInstruction generationConfig cachedContent serviceTier store"
)
_GENERATION = names(
    "audioTimestamp candidateCount enableAffectiveDialog enableEnhancedCivicAnswers frequencyPenalty imageConfig logprobs "
    "maxOutputTokens mediaResolution presencePenalty responseFormat responseJsonSchema responseLogprobs responseMimeType "
    "responseModalities responseSchema routingConfig seed speechConfig stopSequences temperature thinkingConfig topK "
    "topP"
)
_PART = names(
    "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult thought thoughtSignature "
    "videoMetadata partMetadata mediaResolution toolCall toolResponse"
)
_DECLARATION = names("name description parameters parametersJsonSchema response responseJsonSchema behavior")
_SCHEMA = names(
    "anyOf default description enum example format items maxItems maxLength maxProperties maximum minItems minLength "
    "minProperties minimum nullable pattern properties propertyOrdering required title type"
)
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_COUNT = (
    "Please ensure that the number of function response parts is equal to the number of function call parts of the "
    "function call turn."
)
_SNAKE = re.compile(r"_([a-z])")


def camel(name: str) -> str:
    """Return a field's name in camel case."""
    return _SNAKE.sub(lambda found: found[1].upper(), name) if "_" in name else name


def camel_keys(value: Any) -> Any:
    """Return a request with the names of its own fields in camel case; free objects (arguments, schemas) are left alone."""
    if isinstance(value, list):
        return [camel_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    free = ("args", "response", "parametersJsonSchema", "responseJsonSchema", "parameters", "responseSchema")
    named = {camel(name): item for name, item in value.items()}
    return {name: item if name in free else camel_keys(item) for name, item in named.items()}


def check(body: dict[str, Any], model: str) -> None:
    """Raise `RefusedError` for what the endpoint refuses; `body` has camel-case names."""
    _known(body, _FIELDS, "")
    contents = body.get("contents")
    if not contents:
        _refuse("* GenerateContentRequest.contents: contents is not specified\n")
    if not isinstance(contents, list):
        _refuse("Invalid value at 'contents' (type.googleapis.com/google.ai.generativelanguage.v1beta.Content)")
    for index, content in enumerate(contents):
        _check_content(content, index)
    _check_turns(contents)
    if re.match(r"gemini-([3-9]|\d\d)", model):
        _check_signatures(contents)
    instruction = body.get("systemInstruction")
    if instruction is not None and not (isinstance(instruction, dict) and instruction.get("parts")):
        _refuse("* GenerateContentRequest.system_instruction.parts: contents.parts must not be empty.\n")
    _check_tools(body)
    _check_generation(body.get("generationConfig") or {}, model)


def _check_content(content: Any, index: int) -> None:
    at = f"contents[{index}]"
    if not isinstance(content, dict):
        _refuse(f"Invalid value at '{at}'")
    _known(content, frozenset(("role", "parts")), at)
    if content.get("role") not in ("user", "model", None, "function"):
        _refuse("Please use a valid role: user, model.")
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts:
        _refuse(f"* GenerateContentRequest.{at}.parts: contents.parts must not be empty.\n")
    for number, part in enumerate(parts):
        _check_part(part, f"{at}.parts[{number}]")


def _check_part(part: Any, at: str) -> None:
    if not isinstance(part, dict):
        _refuse(f"Invalid value at '{at}'")
    _known(part, _PART, at)
    if not part.keys() - {"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"}:
        _refuse(f"* GenerateContentRequest.{at}.data: required oneof field 'data' must have one initialized field\n")
    signature = part.get("thoughtSignature")
    call, response = part.get("functionCall"), part.get("functionResponse")
    if signature is not None:
        signed = {"name": call.get("name"), "args": call.get("args") or {}} if isinstance(call, dict) else None
        judged = verdict(signature, signed) if isinstance(signature, str) else "broken"
        if judged == "broken":
            _refuse(f"Invalid value at '{at}.thought_signature' (TYPE_BYTES), Base64 decoding failed for \"{signature}\"")
        if judged == "moved":
            _refuse("Corrupted thought signature.")
    if call is not None:
        _known(call, frozenset(("id", "name", "args", "partialArgs", "willContinue")), f"{at}.function_call")
        if not isinstance(call.get("args", {}), dict) or not call.get("name"):
            _refuse(f"Invalid value at '{at}.function_call.args' (type.googleapis.com/google.protobuf.Struct)")
    if response is not None:
        known = frozenset(("id", "name", "response", "parts", "scheduling", "willContinue"))
        _known(response, known, f"{at}.function_response")
        if not response.get("name"):
            _refuse(f"* GenerateContentRequest.{at}.function_response.name: Name cannot be empty.\n")
        if not isinstance(response.get("response", {}), dict):
            _refuse(f"Invalid value at '{at}.function_response.response' (type.googleapis.com/google.protobuf.Struct)")


def _check_turns(contents: list[dict[str, Any]]) -> None:
    """Each turn of calls is followed by one user turn with as many responses, and by nothing else."""
    before: list[Any] = []
    for index, content in enumerate(contents):
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        responses = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        if calls and (index == 0 or contents[index - 1].get("role") == "model"):
            _refuse(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
            )
        if responses and not before:
            _refuse("Please ensure that function response turn comes immediately after a function call turn.")
        if len(responses) != len(before):
            _refuse(_COUNT)
        if sorted(str(call.get("name")) for call in before) != sorted(str(found.get("name")) for found in responses):
            _refuse("Please ensure that each function response has the name of a function call of the function call turn.")
        before = calls
    if before:
        _refuse("Please ensure that single turn requests end with a user role or the role field is empty.")


def _check_signatures(contents: list[dict[str, Any]]) -> None:
    """From Gemini 3 on, the first call of each step since the last user text needs its signature (the vendor's rule)."""
    asked = [
        index
        for index, content in enumerate(contents)
        if content.get("role") != "model" and any(part.get("text") for part in content["parts"])
    ]
    start = asked[-1] + 1 if asked else 0
    for position, content in enumerate(contents[start:], start + 1):
        first = next((part for part in content["parts"] if "functionCall" in part), None)
        if first is not None and not first.get("thoughtSignature"):
            _refuse(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
                "correctly, and missing thought_signature may lead to degraded model performance. Additional data, function "
                f"call `default_api:{first['functionCall']['name']}` , position {position}. Please refer to "
                "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
            )


def _check_tools(body: dict[str, Any]) -> None:
    names = set()
    for index, tool in enumerate(body.get("tools") or ()):
        for number, declaration in enumerate(tool.get("functionDeclarations") or ()):
            at = f"tools[{index}].function_declarations[{number}]"
            _known(declaration, _DECLARATION, at)
            name = declaration.get("name")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                _refuse(
                    f"* GenerateContentRequest.{at}.name: Invalid function name. Must start with a letter or an underscore.\n"
                )
            if name in names:
                _refuse(f"Duplicate function declaration found: {name}")
            names.add(name)
            if "parameters" in declaration and "parametersJsonSchema" in declaration:
                _refuse(f"* GenerateContentRequest.{at}: parameters and parameters_json_schema are mutually exclusive.\n")
            _check_schema(declaration.get("parameters"), f"{at}.parameters")
    choice = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if choice.get("mode", "AUTO") not in ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"):
        _refuse("Invalid value at 'tool_config.function_calling_config.mode'")
    for name in choice.get("allowedFunctionNames") or ():
        if name not in names or choice.get("mode") not in ("ANY", "VALIDATED"):
            _refuse("Function calling config: allowed_function_names must be declared functions, with mode ANY.")


def _check_schema(schema: Any, at: str) -> None:
    """The `parameters` field takes a part of OpenAPI's schema only."""
    if not isinstance(schema, dict):
        return
    _known(schema, _SCHEMA, at)
    if isinstance(schema.get("type"), list):
        _refuse(f"Proto field is not repeating, cannot start list. Field: {at}.type")
    for name, item in (schema.get("properties") or {}).items():
        _check_schema(item, f"{at}.properties[{name}]")
    _check_schema(schema.get("items"), f"{at}.items")
    for item in schema.get("anyOf") or ():
        _check_schema(item, f"{at}.any_of")


def _check_generation(config: dict[str, Any], model: str) -> None:
    _known(config, _GENERATION, "generation_config")
    thinking = config.get("thinkingConfig") or {}
    _known(thinking, frozenset(("includeThoughts", "thinkingBudget", "thinkingLevel")), "generation_config.thinking_config")
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        _refuse("You can only set only one of thinking budget and thinking level.")
    if "thinkingLevel" in thinking and re.match(r"gemini-[12]", model):
        _refuse("Thinking level is not supported for this model.")
    if thinking and re.match(r"gemini-(1|2\.0)", model):
        _refuse("Unable to submit request because thinking is not supported by this model.")
    temperature = config.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 2:
        _refuse("* GenerateContentRequest.generation_config.temperature: temperature must be in the range [0.0, 2.0].\n")
    limit = config.get("maxOutputTokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        _refuse("* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be positive.\n")


def _known(value: Any, names: frozenset[str], at: str) -> None:
    if not isinstance(value, dict):
        _refuse(f"Invalid value at '{at}'")
    for name in value:
        if camel(name) not in names:
            where = f" at '{at}'" if at else ""
            _refuse(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')


def _refuse(message: str) -> NoReturn:
    raise RefusedError(400, message)
