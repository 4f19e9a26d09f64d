"""Settings that name providers of the operator's own, and what is said of bad ones: one line each."""

from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load

OLLAMA = {"PROVIDERS": "ollama", "OLLAMA_BASE_URL": "http://localhost:11434/v1/", "OLLAMA_MODEL": "qwen3:8b"}


def test_a_named_provider_without_a_key() -> None:
    settings = load(OLLAMA, env_file=None)
    provider = settings.provider("ollama")
    assert settings.configured == ("ollama",)
    assert settings.provider_names == ("openai", "anthropic", "groq", "google", "ollama")
    assert (provider.base_url, provider.keys, provider.api) == ("http://localhost:11434/v1", ("",), "chat")
    assert provider.all_models == ("qwen3:8b",)


def test_a_named_provider_with_everything() -> None:
    settings = load(
        {
            "PROVIDERS": " LM-Studio , openrouter",
            "LM_STUDIO_BASE_URL": "http://127.0.0.1:1234/v1",
            "LM_STUDIO_MODELS": "a,b",
            "LM_STUDIO_API": "Responses",
            "OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1",
            "OPENROUTER_API_KEY": "sk-or-1, sk-or-2",
            "OPENROUTER_MODEL": "c",
            "OPENROUTER_MODELS": "c,d",
            "DEFAULT_PROVIDER": "lm-studio",
            "FALLBACK_PROVIDERS": "openrouter,gemini",
        },
        env_file=None,
    )
    first, second = settings.providers
    assert (first.name, first.api, first.all_models) == ("lm-studio", "responses", ("a", "b"))
    assert (second.name, second.keys, second.all_models) == ("openrouter", ("sk-or-1", "sk-or-2"), ("c", "d"))
    assert (settings.default_provider, settings.fallback_providers) == ("lm-studio", ("openrouter", "google"))
    assert {"sk-or-1", "sk-or-2"} <= set(settings.secrets)
    assert "sk-or" not in repr(settings)


def test_the_gateways_own_providers() -> None:
    settings = load({"OPENAI_API_KEY": "k", "OPENAI_API": "CHAT", "GROQ_MODELS": "x"}, env_file=None)
    assert settings.configured == ("openai",)
    assert (settings.provider("openai").api, settings.provider("groq").api) == ("chat", "auto")
    assert settings.provider("groq").all_models == ("openai/gpt-oss-120b", "x")
    assert settings.provider("google").keys == ()
    assert Settings().configured == ()


def test_named_providers_may_have_prices_of_their_own(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[ollama."*"]\ninput = 0.1\noutput = 0.2\n', encoding="utf-8")
    assert load({**OLLAMA, "PRICES_FILE": str(prices)}, env_file=None).prices_file is not None
    with pytest.raises(SettingsError, match=r"PRICES_FILE.*ollama"):
        load({"PRICES_FILE": str(prices)}, env_file=None)


BAD = {
    "of the gateway's own": ({"PROVIDERS": "openai"}, "PROVIDERS: takes names such as"),
    "alias": ({"PROVIDERS": "gemini"}, "PROVIDERS: takes names such as"),
    "odd name": ({"PROVIDERS": "my server"}, "PROVIDERS: takes names such as"),
    "long name": ({"PROVIDERS": "x" * 33}, "PROVIDERS: takes names such as"),
    "twice": ({**OLLAMA, "PROVIDERS": "ollama,Ollama"}, "PROVIDERS: takes every name once"),
    "alike": (
        {"PROVIDERS": "a-b,a_b", "A_B_BASE_URL": "http://x", "A_B_MODEL": "m"},
        "PROVIDERS: takes every name once",
    ),
    "too many": ({"PROVIDERS": ",".join(f"p{number}" for number in range(33))}, "PROVIDERS: takes at most 32 names"),
    "no address": ({"PROVIDERS": "ollama", "OLLAMA_MODEL": "m"}, "OLLAMA_BASE_URL: the provider ollama needs an address"),
    "bad address": ({**OLLAMA, "OLLAMA_BASE_URL": "localhost:11434"}, "OLLAMA_BASE_URL: takes an http:// or https:// address"),
    "no host": ({**OLLAMA, "OLLAMA_BASE_URL": "http://"}, "OLLAMA_BASE_URL: takes an http:// or https:// address"),
    "bad port": ({**OLLAMA, "OLLAMA_BASE_URL": "http://x:99999"}, "OLLAMA_BASE_URL: takes an http:// or https:// address"),
    "query": ({"OPENAI_BASE_URL": "https://x/v1?a=b"}, "OPENAI_BASE_URL: takes an address without a user, a query or a fragment"),
    "user": ({"GROQ_BASE_URL": "https://me:pw@x"}, "GROQ_BASE_URL: takes an address without a user, a query or a fragment"),
    "no model": ({"PROVIDERS": "lm-studio", "LM_STUDIO_BASE_URL": "http://x"}, "LM_STUDIO_MODEL: the provider lm-studio needs"),
    "bad format": ({**OLLAMA, "OLLAMA_API": "soap"}, "OLLAMA_API: takes 'auto', 'chat' or 'responses'"),
    "bad own format": ({"OPENAI_API": "soap"}, "OPENAI_API: takes 'auto', 'chat' or 'responses'"),
    "unknown default": ({**OLLAMA, "DEFAULT_PROVIDER": "llama"}, "DEFAULT_PROVIDER: takes one of .*google, ollama$"),
    "unknown fallback": ({"FALLBACK_PROVIDERS": "ollama"}, "FALLBACK_PROVIDERS: takes one of .*google$"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_line_for_a_bad_value(case: str) -> None:
    environ, line = BAD[case]
    with pytest.raises(SettingsError, match=f"^{line}") as error:
        load(environ, env_file=None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["redis://:word@h:port", "redis://:word@h?nonsense=1", "http://:word@h"])
def test_an_address_of_redis_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_URL: takes an address such as redis://:password@host:6379/0$"):
        load({"REDIS_URL": url}, env_file=None)
