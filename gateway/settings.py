"""The only reader of the environment (and of `.env`): every setting, its bounds and its default."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo

from gateway.access.addresses import ClientAddresses
from gateway.access.callers import name_and_key
from gateway.access.origins import parse_origins
from gateway.core.rates import parse_rates
from gateway.named_providers import ProviderSettings, read_named
from gateway.observe.price_file import PriceTable, read_price_table
from gateway.setting_types import BaseUrl, Names, Secrets, Url, one_line
from gateway.setting_types import SettingsError as SettingsError
from gateway.store.dsn import parse_dsn
from gateway.store.redis_address import read_address

PROVIDER_NAMES = ("openai", "anthropic", "groq", "google")


def _provider_name(value: str, info: ValidationInfo) -> str:
    known = _known(info)
    name = "google" if value.lower() == "gemini" else value.lower()
    if name not in known:
        raise ValueError(f"takes one of {', '.join(known)}")
    return name


def _provider_names(values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    return tuple(_provider_name(value, info) for value in values)


def _known(info: ValidationInfo) -> tuple[str, ...]:
    """Names of providers; those of the operator's own are read first."""
    return (*PROVIDER_NAMES, *(one.name for one in info.data.get("providers", ())))


def _rate(value: str) -> str:
    parse_rates(value)
    return value


def _proxies(values: tuple[str, ...]) -> tuple[str, ...]:
    ClientAddresses(values)
    return values


def _price_table(value: Any, info: ValidationInfo) -> Any:
    return read_price_table(Path(value), _known(info)) if isinstance(value, str) else value


Rate = Annotated[str, AfterValidator(_rate)]
ProviderName = Annotated[str, AfterValidator(_provider_name)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
SecondsOrZero = Annotated[float, Field(ge=0, le=86_400)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Positive = Annotated[int, Field(ge=1, le=1_000_000_000)]
Usd = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1, le=1 << 50)]


class Settings(BaseModel):
    """All settings, frozen. Field names are the variables' names in lower case; empty variables count as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8000
    database_url: SecretStr | None = None
    data_dir: Path = Path(".data")
    redis_url: SecretStr | None = None
    web_concurrency: Annotated[int, Field(ge=1, le=256)] = 1

    providers: tuple[ProviderSettings, ...] = ()
    default_provider: ProviderName = "openai"
    fallback_providers: Annotated[Names, AfterValidator(_provider_names)] = ()
    allow_fallback_when_pinned: bool = False
    continue_on_break: bool = False
    openai_api_key: Secrets = ()
    anthropic_api_key: Secrets = ()
    groq_api_key: Secrets = ()
    google_api_key: Secrets = ()
    openai_model: str = "gpt-6-luna"
    anthropic_model: str = "claude-haiku-5-5"
    groq_model: str = "openai/gpt-oss-120b"
    google_model: str = "gemini-3.8-flash"
    openai_models: Names = ()
    anthropic_models: Names = ()
    groq_models: Names = ()
    google_models: Names = ()
    openai_api: Literal["auto", "chat", "responses"] = "auto"
    openai_base_url: BaseUrl = "https://api.openai.com/v1"
    anthropic_base_url: BaseUrl = "https://api.anthropic.com"
    groq_base_url: BaseUrl = "https://api.groq.com"
    google_base_url: BaseUrl = "https://generativelanguage.googleapis.com"

    connect_timeout_s: Seconds = 5
    first_token_timeout_s: Seconds = 60
    idle_timeout_s: Seconds = 60
    turn_timeout_s: Seconds = 600
    max_retries: Annotated[int, Field(ge=0, le=20)] = 2
    retry_after_max_s: SecondsOrZero = 20
    upstream_connections: Count = 0
    heartbeat_s: Seconds = 15
    abandon_s: SecondsOrZero = 300
    drain_s: SecondsOrZero = 30
    store_wait_s: Seconds = 1

    history_messages: Annotated[int, Field(ge=1, le=10_000)] = 100
    max_output_tokens: Positive = 8192
    max_reply_bytes: Bytes = 4 * 1024 * 1024
    max_active_turns: Positive = 10_000
    max_active_turns_per_caller: Count = 0
    max_body_bytes: Bytes = 10 * 1024 * 1024
    max_tool_rounds: Positive = 25
    retention_days: Annotated[int, Field(ge=0, le=36_600)] = 0
    cache_ttl_s: Annotated[int, Field(ge=0, le=366 * 86_400)] = 0
    journal_max_bytes: Bytes = 1024 * 1024 * 1024

    api_keys: Secrets = ()
    jwt_secret: Secrets = ()
    admin_token: SecretStr | None = None
    allow_anonymous: Literal["false", "chat", "true"] = "false"
    google_client_id: Names = ()
    apple_bundle_id: Names = ()
    jwt_ttl_s: Annotated[int, Field(ge=60, le=10 * 366 * 86_400)] = 30 * 86_400
    google_jwks_url: Url = "https://www.googleapis.com/oauth2/v3/certs"
    apple_jwks_url: Url = "https://appleid.apple.com/auth/keys"
    cors_origins: Annotated[Names, AfterValidator(parse_origins)] = ()
    trusted_proxies: Annotated[Names, AfterValidator(_proxies)] = ()
    daily_request_limit: Count = 30
    rate_limit: Rate = "20/minute"
    api_key_daily_limit: Count = 0
    api_key_rate_limit: Rate = "none"
    auth_rate_limit: Rate = "10/minute"
    resume_rate_limit: Rate = "120/minute"
    daily_budget_usd: Usd = 0
    user_daily_budget_usd: Usd = 0
    prices_file: Annotated[PriceTable | None, BeforeValidator(_price_table)] = None

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"

    def provider(self, name: str) -> ProviderSettings:
        """One provider, whether it is the gateway's own or the operator's."""
        for named in self.providers:
            if named.name == name:
                return named
        fields = {field: getattr(self, f"{name}_{field}") for field in ("base_url", "model", "models", "api_key")}
        return ProviderSettings(name=name, api=self.openai_api if name == "openai" else "auto", **fields)

    @property
    def provider_names(self) -> tuple[str, ...]:
        """Every provider that a request may name."""
        return (*PROVIDER_NAMES, *(named.name for named in self.providers))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret's text, and the parts of it that are secret by themselves, so that no log line shows one."""
        holders = (self, *self.providers)
        held = [value for one in holders for name in type(one).model_fields for value in _each(getattr(one, name))]
        parts = [part for secret in held for part in (secret, secret.partition(":")[2], *_passwords(secret))]
        return tuple(dict.fromkeys(part for part in parts if part))

    @property
    def configured(self) -> tuple[str, ...]:
        """Providers that can be asked: with at least one key, or without need of one."""
        return tuple(name for name in self.provider_names if self.provider(name).keys)

    @property
    def callers_configured(self) -> bool:
        """Whether anybody has to show a token; otherwise the server is open."""
        return bool(self.api_keys or self.jwt_secret or self.admin_token)

    @property
    def on_loopback(self) -> bool:
        """Whether the server listens on this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _each(value: object) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    return [secret.get_secret_value() for secret in values if isinstance(secret, SecretStr)]


_PASSWORDS: Final = (re.compile(r"://[^:@/?#]*:(.+)@"), re.compile(r"[?&](?:ssl)?password=([^&#]*)", re.IGNORECASE))


def _passwords(address: str) -> list[str]:
    """Passwords in an address, as they stand and decoded."""
    found = [password for pattern in _PASSWORDS for password in pattern.findall(address)]
    return [*found, *map(unquote, found)]


_UPPER_CASED = {"log_level"}
_LOWER_CASED = {"log_format", "allow_anonymous", "openai_api"}
_FLAGS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def load(environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """Read the settings; the environment wins over the file. Raises `SettingsError`."""
    values: dict[str, str | None] = dict(dotenv_values(env_file)) if env_file and env_file.is_file() else {}
    values.update(os.environ if environ is None else environ)
    given = {name.lower(): value.strip() for name, value in values.items() if value and value.strip()}
    spelled: dict[str, Any] = {name: _spelled(name, given[name]) for name in Settings.model_fields if name in given}
    spelled["providers"] = read_named(given, Settings.model_fields)
    try:
        settings = Settings.model_validate(spelled)
    except ValidationError as error:
        raise SettingsError(one_line(error)) from None
    _check_together(settings)
    return settings


def for_libraries(env_file: Path = Path(".env")) -> dict[str, str]:
    """What the file holds for libraries that read the environment by themselves, and the environment does not: `OTEL_*`."""
    found = dotenv_values(env_file) if env_file.is_file() else {}
    return {name: value for name, value in found.items() if name.startswith("OTEL_") and value and name not in os.environ}


def _spelled(name: str, value: str) -> str:
    if name in _UPPER_CASED:
        return value.upper()
    if name in _LOWER_CASED:
        return _FLAGS.get(value.lower(), value.lower())
    return value


def _check_together(settings: Settings) -> None:
    if any(len(secret.get_secret_value().encode()) < 32 for secret in settings.jwt_secret):
        raise SettingsError("JWT_SECRET: takes secrets of at least 32 bytes each")
    try:
        keys = [name_and_key(pair.get_secret_value())[1] for pair in settings.api_keys]
    except ValueError as error:
        raise SettingsError(f"API_KEYS: {error}") from None
    if len(set(keys)) < len(keys):
        raise SettingsError("API_KEYS: takes every key once")
    if settings.admin_token is not None and settings.admin_token.get_secret_value() in keys:
        raise SettingsError("ADMIN_TOKEN: takes a token that is no API key as well")
    _check_addresses(settings)
    if settings.web_concurrency > 1 and settings.redis_url is None:
        raise SettingsError("WEB_CONCURRENCY: more than 1 needs REDIS_URL, so that any worker can resume any stream")
    if not settings.callers_configured and not settings.on_loopback and settings.allow_anonymous == "false":
        raise SettingsError(
            f"HOST: {settings.host} is open to others while nobody has to show a token; set API_KEYS, JWT_SECRET or "
            "ADMIN_TOKEN, or ALLOW_ANONYMOUS=true to serve anyone"
        )


def _check_addresses(settings: Settings) -> None:
    """What libraries say of a bad address may repeat its password."""
    if settings.database_url is not None:
        try:
            parse_dsn(settings.database_url.get_secret_value())
        except ValueError as error:
            raise SettingsError(f"DATABASE_URL: {error}") from None
    if settings.redis_url is not None:
        try:
            read_address(settings.redis_url.get_secret_value())
        except ValueError:
            raise SettingsError("REDIS_URL: takes an address such as redis://:password@host:6379/0") from None
