"""What handlers work with, wired once in `app.py`."""

from dataclasses import dataclass

from aiohttp import web

from gateway.access.addresses import ClientAddresses
from gateway.access.budgets import Budgets
from gateway.access.daily import DailyLimits
from gateway.access.rates import RateLimits
from gateway.access.sessions import Sessions
from gateway.access.signin import SignIn
from gateway.access.users import Users
from gateway.engine.following import Following
from gateway.engine.idempotency import Keys
from gateway.engine.link import Link
from gateway.engine.lookup import Lookup
from gateway.engine.routing import Router
from gateway.engine.runner import Engine
from gateway.engine.sharing import Sharing
from gateway.observe.metrics import Metrics
from gateway.store.base import Exports, Health, Reports, Store, Threads
from gateway.web.gate import Gate
from gateway.web.intake import Intake
from gateway.web.openai_threads import LostReplies


@dataclass(frozen=True, slots=True)
class Shared:
    """This process's link to the others: what runs here for them, what runs elsewhere for us."""

    link: Link
    sharing: Sharing
    following: Following


@dataclass(frozen=True, slots=True)
class Accounts:
    """Signing in, what users have left of their day, and the operator's sessions (None without a token of theirs)."""

    sign_in: SignIn
    users: Users
    daily: DailyLimits
    addresses: ClientAddresses
    sessions: Sessions | None


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms behind the edge, and the few settings the edge itself needs."""

    engine: Engine
    lookup: Lookup
    keys: Keys
    shared: Shared | None
    store: Store
    reports: Reports
    exports: Exports
    threads: Threads
    health: Health
    router: Router
    intake: Intake
    lost: LostReplies
    gate: Gate
    rates: RateLimits
    accounts: Accounts
    budgets: Budgets | None
    metrics: Metrics
    heartbeat_s: float
    version: str
    simulated: bool


SERVICES = web.AppKey("services", Services)
