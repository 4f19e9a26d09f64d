"""The composition root's other half: who may ask, and how much, wired from the settings."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import aiohttp

from gateway.access.addresses import ClientAddresses
from gateway.access.budgets import Budgets
from gateway.access.callers import Callers, name_and_key, openness
from gateway.access.charges import Ledger
from gateway.access.daily import DailyLimits
from gateway.access.identity import ALGORITHM, IdentityVerifier
from gateway.access.jwks import KeySet
from gateway.access.origins import Origins
from gateway.access.rates import RateLimits
from gateway.access.rounds import ToolRounds
from gateway.access.sessions import Sessions
from gateway.access.signin import SignIn
from gateway.access.tokens import Tokens
from gateway.access.users import Users
from gateway.core.rates import parse_rates
from gateway.settings import Settings
from gateway.store.base import StoreUnavailable
from gateway.store.postgres import PostgresStore
from gateway.store.shared_windows import SharedWindows
from gateway.web.gate import Gate
from gateway.web.services import Accounts

log = logging.getLogger(__name__)

CHORES_S: Final = 600.0

Chore = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Admission:
    """Everything that decides whether a request may become a turn."""

    gate: Gate
    rates: RateLimits
    ledger: Ledger
    accounts: Accounts
    budgets: Budgets | None


def open_admission(settings: Settings, store: PostgresStore, session: aiohttp.ClientSession, stack: AsyncExitStack) -> Admission:
    """Build it all; what needs closing goes on `stack`."""
    users = Users(store, store)
    tokens = _tokens(settings)
    daily = DailyLimits(store, user_limit=settings.daily_request_limit, key_limit=settings.api_key_daily_limit)
    store.on_charged = daily.stored
    daily.start()
    stack.push_async_callback(daily.close)
    budgets = _budgets(settings, store, stack)
    rates = RateLimits(
        users=parse_rates(settings.rate_limit),
        keys=parse_rates(settings.api_key_rate_limit),
        sign_in=parse_rates(settings.auth_rate_limit),
        resume=parse_rates(settings.resume_rate_limit),
        shared=SharedWindows(settings.redis_url.get_secret_value()) if settings.redis_url else None,
    )
    stack.push_async_callback(rates.close)
    sessions = Sessions(settings.admin_token.get_secret_value()) if settings.admin_token else None
    start_chores(_chores(settings, store, users, daily, budgets), stack)
    return Admission(
        gate=Gate(
            _callers(settings, tokens),
            users,
            sessions,
            Origins(settings.cors_origins),
            this_machine_alone=_this_machine_alone(settings),
        ),
        rates=rates,
        ledger=Ledger(daily, ToolRounds(store, settings.max_tool_rounds), settings.max_active_turns_per_caller, budgets),
        accounts=Accounts(
            sign_in=_sign_in(settings, users, tokens, session),
            users=users,
            daily=daily,
            addresses=ClientAddresses(settings.trusted_proxies),
            sessions=sessions,
        ),
        budgets=budgets,
    )


def start_chores(chores: tuple[Chore, ...], stack: AsyncExitStack) -> None:
    """Do what must be done now and then, for as long as the process runs."""

    async def forever() -> None:
        while True:
            for chore in chores:
                try:
                    await chore()
                except StoreUnavailable:
                    log.debug("a chore waits for the database")
                except Exception:
                    log.exception("a chore failed")
            await asyncio.sleep(CHORES_S)

    task = asyncio.get_running_loop().create_task(forever())

    async def stop() -> None:
        task.cancel()
        await asyncio.wait((task,))

    stack.push_async_callback(stop)


def _budgets(settings: Settings, store: PostgresStore, stack: AsyncExitStack) -> Budgets | None:
    """Without a budget nothing is added up."""
    if not (settings.daily_budget_usd or settings.user_daily_budget_usd):
        return None
    budgets = Budgets(store, total_usd=settings.daily_budget_usd, user_usd=settings.user_daily_budget_usd)
    store.on_spent = budgets.stored
    stack.push_async_callback(budgets.close)
    return budgets


def _chores(
    settings: Settings, store: PostgresStore, users: Users, daily: DailyLimits, budgets: Budgets | None
) -> tuple[Chore, ...]:
    chores: tuple[Chore, ...] = (users.finish_deletions, daily.prune, store.forget_graves)
    if budgets is not None:
        chores = (budgets.catch_up, budgets.prune, *chores)
    if settings.retention_days:
        return (*chores, lambda: store.expire(settings.retention_days))
    return chores


def _tokens(settings: Settings) -> Tokens | None:
    secrets = [secret.get_secret_value() for secret in settings.jwt_secret]
    return Tokens(secrets, settings.jwt_ttl_s) if secrets else None


def _callers(settings: Settings, tokens: Tokens | None) -> Callers:
    return Callers(
        [name_and_key(pair.get_secret_value()) for pair in settings.api_keys],
        tokens,
        settings.admin_token.get_secret_value() if settings.admin_token else None,
        openness(
            configured=settings.callers_configured,
            on_loopback=settings.on_loopback,
            allow_anonymous=settings.allow_anonymous,
        ),
    )


def _this_machine_alone(settings: Settings) -> bool:
    """Nobody needs a token, and nobody said that strangers may come in."""
    return not settings.callers_configured and settings.allow_anonymous == "false"


def _sign_in(settings: Settings, users: Users, tokens: Tokens | None, session: aiohttp.ClientSession) -> SignIn:
    return SignIn(
        {
            "google": IdentityVerifier("google", settings.google_client_id, KeySet(settings.google_jwks_url, ALGORITHM, session)),
            "apple": IdentityVerifier("apple", settings.apple_bundle_id, KeySet(settings.apple_jwks_url, ALGORITHM, session)),
        },
        users,
        tokens,
    )
