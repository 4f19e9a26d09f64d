"""The composition root: the only place that wires the rooms together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from aiohttp import web

from gateway import __version__
from gateway.access.budgets import Budgets
from gateway.access.origins import Origins
from gateway.admission import open_admission
from gateway.engine.answers import Answers
from gateway.engine.attempts import Attempts
from gateway.engine.following import Following
from gateway.engine.idempotency import Keys
from gateway.engine.link import Link
from gateway.engine.lookup import Lookup
from gateway.engine.policy import Policy
from gateway.engine.prompt import PromptBuilder
from gateway.engine.recent import RecentCalls
from gateway.engine.routing import Router, Target
from gateway.engine.runner import Engine, Limits
from gateway.engine.sharing import Sharing
from gateway.engine.upstream import Timeouts, Upstream, open_session
from gateway.named_providers import ProviderSettings
from gateway.observe.gauges import KeySample, Sample
from gateway.observe.metrics import Metrics
from gateway.observe.otel import open_telemetry
from gateway.observe.price_file import NO_PRICES
from gateway.observe.prices import Prices
from gateway.observe.turns import log_line
from gateway.providers.registry import wire
from gateway.settings import Settings
from gateway.store.answers import PostgresAnswers
from gateway.store.base import StoreUnavailable
from gateway.store.dsn import parse_dsn
from gateway.store.exporting import LogExport
from gateway.store.indexing import SearchIndex
from gateway.store.journal import Journal
from gateway.store.postgres import PostgresStore
from gateway.store.relay import RedisRelay
from gateway.store.threads import PostgresThreads
from gateway.store.writer import Writer
from gateway.web.cors import add_cors
from gateway.web.edge import dress, edge
from gateway.web.intake import Intake
from gateway.web.openai_threads import LostReplies
from gateway.web.routes import add_routes
from gateway.web.services import SERVICES, Services, Shared

if TYPE_CHECKING:
    from gateway.observe.telemetry import Telemetry

log = logging.getLogger(__name__)

_PATIENCE_S = 10.0
_FLUSH_S = 1.0


def build(settings: Settings, database_url: str, worker: str = "0") -> web.Application:
    """An application that opens its resources at start-up and gives them back at clean-up."""
    telemetry = open_telemetry(__version__)
    middlewares = [edge] if telemetry is None else [telemetry.middleware(), edge]
    app = web.Application(middlewares=middlewares, client_max_size=settings.max_body_bytes)
    app.on_response_prepare.append(dress)
    add_cors(app, Origins(settings.cors_origins))
    add_routes(app)
    app.cleanup_ctx.append(_services(settings, database_url, worker, telemetry))
    return app


def _services(
    settings: Settings, database_url: str, worker: str, telemetry: "Telemetry | None"
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def opened(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if telemetry is not None:
                stack.push_async_callback(telemetry.close)
            app[SERVICES] = await _open(settings, database_url, worker, telemetry, stack)
            yield

    return opened


async def _open(
    settings: Settings, database_url: str, worker: str, telemetry: "Telemetry | None", stack: AsyncExitStack
) -> Services:
    simulated_at = await _simulator(settings, stack)
    store = PostgresStore(parse_dsn(database_url))
    stack.push_async_callback(store.close)
    journal = await Journal.open(settings.data_dir / "journal", worker, max_bytes=settings.journal_max_bytes)
    stack.push_async_callback(journal.close)
    writer = Writer(store, journal, store_wait_s=settings.store_wait_s)
    store.caught_up = writer.caught_up
    stack.push_async_callback(writer.close, _FLUSH_S)
    await _prepare(store)
    await writer.start()

    timeouts = Timeouts(settings.connect_timeout_s, settings.first_token_timeout_s, settings.idle_timeout_s)
    session = await stack.enter_async_context(open_session(timeouts, settings.upstream_connections))
    router = _router(settings, simulated_at)
    recent = RecentCalls()
    upstream = Upstream(session, timeouts, settings.max_reply_bytes)
    attempts = Attempts(router, upstream if telemetry is None else telemetry.watched(upstream), _policy(settings))
    engine = Engine(
        attempts,
        writer,
        recent,
        Limits(settings.turn_timeout_s, settings.abandon_s, settings.max_reply_bytes, settings.max_active_turns),
        Prices(settings.prices_file or NO_PRICES),
    )
    search_index = SearchIndex(store.run)
    search_index.start()
    stack.push_async_callback(search_index.close)
    shared = _shared(settings, engine, store, stack)
    lookup = Lookup(engine, store, shared.following if shared else None, settings.turn_timeout_s)
    keys = Keys(store, lookup)
    stack.push_async_callback(keys.settle)
    stack.push_async_callback(engine.drain, 0)
    prompts = PromptBuilder(store, recent, settings.history_messages, settings.max_output_tokens)
    admission = open_admission(settings, store, session, stack)
    metrics = _metrics(engine, writer, router, admission.budgets, worker, stack)
    simulated, ttl_s = simulated_at is not None, settings.cache_ttl_s
    answers = Answers(attempts, PostgresAnswers(store), ttl_s, metrics.answered, simulated=simulated) if ttl_s else None
    intake = Intake(engine, router, prompts, store, keys, admission.rates, admission.ledger, answers, simulated=simulated)
    engine.on_ended += (intake.ended, log_line)
    if telemetry is not None:
        engine.on_begun.append(telemetry.begun)
        engine.on_ended.append(telemetry.ended)
    # The first thing to happen at the end: nothing below waits long for the database then.
    stack.callback(store.hurry)
    return Services(
        engine=engine,
        lookup=lookup,
        keys=keys,
        shared=shared,
        store=store,
        reports=store,
        exports=LogExport(store),
        threads=PostgresThreads(store),
        health=writer,
        router=router,
        intake=intake,
        lost=LostReplies(),
        metrics=metrics,
        gate=admission.gate,
        rates=admission.rates,
        accounts=admission.accounts,
        budgets=admission.budgets,
        heartbeat_s=settings.heartbeat_s,
        version=__version__,
        simulated=simulated,
    )


def _metrics(
    engine: Engine, writer: Writer, router: Router, budgets: Budgets | None, worker: str, stack: AsyncExitStack
) -> Metrics:
    def sample() -> Sample:
        return Sample(
            active_turns=engine.active,
            readers=engine.readers,
            spooled_turns=writer.spooled,
            refused_turns=writer.refused,
            database_up=writer.database_up,
            journal_up=writer.journal_ok,
            event_loop_tasks=len(asyncio.all_tasks()),
            keys=[KeySample(name, key.state, key.rest_s) for name, found in router.health().items() for key in found.keys],
            breakers_opened={name: sum(key.breaker.opened for key in pool.keys) for name, pool in router.pools.items()},
            spent_usd=budgets.spent_usd if budgets else 0.0,
            budget_usd=budgets.total_usd if budgets else 0.0,
        )

    metrics = Metrics(sample, worker)
    metrics.start()
    stack.push_async_callback(metrics.close)
    engine.on_ended.append(metrics.ended)
    return metrics


def _shared(settings: Settings, engine: Engine, store: PostgresStore, stack: AsyncExitStack) -> Shared | None:
    """With Redis, turns are shared with the other processes."""
    if settings.redis_url is None:
        return None
    relay = RedisRelay(settings.redis_url.get_secret_value())
    stack.push_async_callback(relay.close)
    link = Link(relay, settings.turn_timeout_s)
    stack.push_async_callback(link.close)
    sharing, following = Sharing(link, engine), Following(link, store, settings.turn_timeout_s)
    for part in (sharing, following):
        stack.push_async_callback(part.close)
    engine.on_begun.append(sharing.begun)
    link.start()
    return Shared(link, sharing, following)


async def _simulator(settings: Settings, stack: AsyncExitStack) -> str | None:
    """Without any provider key, a stand-in answers, so that a first run needs none."""
    if settings.configured:
        return None
    import simulator  # its answers take a thirtieth of a start to import, and only those who try the gateway out need them

    stand_in = await simulator.start_simulator()
    stack.push_async_callback(stand_in.close)
    log.warning("no provider key is set: every reply comes from the built-in simulator")
    return stand_in.base_url


async def _prepare(store: PostgresStore) -> None:
    """Bring the schema up to date if the database answers at once; otherwise the store does so when it is back."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await store.prepare()
    except (StoreUnavailable, TimeoutError) as error:
        reason = str(error) or "it does not answer"
        log.warning("the database is away (%s): turns are kept in the journal until it is back", reason)


def _router(settings: Settings, simulated_at: str | None) -> Router:
    targets = [_target(settings.provider(name), simulated_at) for name in settings.provider_names]
    return Router(
        targets,
        settings.default_provider,
        settings.fallback_providers,
        allow_fallback_when_pinned=settings.allow_fallback_when_pinned,
    )


def _target(provider: ProviderSettings, simulated_at: str | None) -> Target:
    url, keys = provider.base_url, provider.keys
    if simulated_at is not None:
        url, keys = simulated_at + ("/v1" if provider.name == "openai" else ""), ("simulated",)
    wires = {model: wire(provider.name, model, provider.api) for model in provider.all_models}
    return Target(provider.name, wires[provider.model], url, keys, provider.all_models, wires)


def _policy(settings: Settings) -> Policy:
    return Policy(
        max_retries=settings.max_retries,
        turn_timeout_s=settings.turn_timeout_s,
        max_wait_s=settings.retry_after_max_s,
        continue_on_break=settings.continue_on_break,
    )
