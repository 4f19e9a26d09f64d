"""Providers by configuration alone: any server that speaks OpenAI's format, under a name of the operator's own.

`PROVIDERS=ollama,openrouter` names them; `OLLAMA_BASE_URL`, `OLLAMA_API_KEY`, `OLLAMA_MODEL`, `OLLAMA_MODELS` and
`OLLAMA_API` say the rest of each.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from gateway.setting_types import BaseUrl, Names, Secrets, SettingsError, one_line, split

MOST: Final = 32
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_FIELDS: Final = ("base_url", "api_key", "model", "models", "api")


class ProviderSettings(BaseModel):
    """One provider as it is configured.

    `api_key` may be several, spread over; an empty one means that the server needs none. `api` says which of OpenAI's formats
    it speaks (`auto`: as the model table says).
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    name: str
    base_url: BaseUrl
    model: str
    models: Names = ()
    api_key: Secrets = (SecretStr(""),)
    api: Literal["auto", "chat", "responses"] = "chat"

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys, in the order given."""
        return tuple(secret.get_secret_value() for secret in self.api_key)

    @property
    def all_models(self) -> tuple[str, ...]:
        """Every model a request may ask for, the default first."""
        return tuple(dict.fromkeys((self.model, *self.models)))


def read_named(given: Mapping[str, str], taken: Collection[str]) -> tuple[ProviderSettings, ...]:
    """Read the providers that `PROVIDERS` names. Raises `SettingsError`.

    `given` are the variables by their names in lower case, `taken` those that mean something else.
    """
    names = [name.lower() for name in split(given.get("providers", ""))]
    if len(names) > MOST:
        raise SettingsError(f"PROVIDERS: takes at most {MOST} names")
    found: dict[str, ProviderSettings] = {}
    for name in names:
        variables = {field: f"{name.replace('-', '_')}_{field}" for field in _FIELDS}
        if len(name) > MOST or not _NAME.fullmatch(name) or name == "gemini" or not set(taken).isdisjoint(variables.values()):
            raise SettingsError(
                f"PROVIDERS: takes names such as ollama,lm-studio, of at most {MOST} letters, digits and hyphens and none of the "
                "gateway's own"
            )
        if variables["model"] in found:
            raise SettingsError("PROVIDERS: takes every name once")
        found[variables["model"]] = _read(name, {field: given[key] for field, key in variables.items() if key in given})
    return tuple(found.values())


def _read(name: str, fields: dict[str, str]) -> ProviderSettings:
    prefix = f"{name.replace('-', '_')}_".upper()
    if "base_url" not in fields:
        raise SettingsError(f"{prefix}BASE_URL: the provider {name} needs an address, such as http://localhost:11434/v1")
    models = split(fields.get("models", ""))
    if "model" not in fields and not models:
        raise SettingsError(f"{prefix}MODEL: the provider {name} needs a model that answers when a request names none")
    fields.setdefault("model", models[0] if models else "")
    if "api" in fields:
        fields["api"] = fields["api"].lower()
    try:
        return ProviderSettings.model_validate({"name": name, **fields})
    except ValidationError as error:
        raise SettingsError(one_line(error, prefix)) from None
