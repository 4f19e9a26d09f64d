"""The registry holds what a request may ask for."""

from gateway.providers.base import Provider
from gateway.providers.registry import PROVIDERS
from tests.providers.fixture_cases import DIRECTORIES


def test_every_provider_with_recordings_is_registered() -> None:
    assert set(PROVIDERS) == set(DIRECTORIES)
    assert all(isinstance(provider, Provider) for provider in PROVIDERS.values())


def test_no_two_providers_share_a_record() -> None:
    assert len({id(provider) for provider in PROVIDERS.values()}) == len(PROVIDERS)
