"""The operations beside turns and the log: accounts, monitoring, the reference itself."""

from typing import Final

from gateway.core.errors import ErrorCode
from gateway.web import schemas_service as schemas
from gateway.web.auth import AppleSignIn, GoogleSignIn
from gateway.web.operation import HTML, TEXT, Answer, Operation

_SIGN_IN_ERRORS: Final[tuple[ErrorCode, ...]] = (
    "invalid_json",
    "unauthenticated",
    "forbidden",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "log_unavailable",
    "sign_in_unavailable",
    "provider_not_configured",
)

ACCOUNT: Final = (
    Operation(
        "post",
        "/auth/google/mobile",
        "signInWithGoogle",
        "account",
        "Sign in with Google",
        "Verifies Google's identity token against Google's published keys. What is asked for may stand in the query or in a "
        "JSON body.",
        (Answer(200, "Signed in.", schemas.SignedIn),),
        _SIGN_IN_ERRORS,
        query=GoogleSignIn,
        body=GoogleSignIn,
        body_required=False,
        public=True,
        limited=True,
    ),
    Operation(
        "post",
        "/auth/apple/mobile",
        "signInWithApple",
        "account",
        "Sign in with Apple",
        "Verifies Apple's identity token against Apple's published keys. What is asked for may stand in the query or in a "
        "JSON body.",
        (Answer(200, "Signed in.", schemas.SignedIn),),
        _SIGN_IN_ERRORS,
        query=AppleSignIn,
        body=AppleSignIn,
        body_required=False,
        public=True,
        limited=True,
    ),
    Operation(
        "get",
        "/auth/me",
        "me",
        "account",
        "The caller's account",
        "For callers who signed in; others get 403.",
        (Answer(200, "The account.", schemas.OwnAccount),),
        ("log_unavailable",),
    ),
    Operation(
        "delete",
        "/auth/me",
        "forgetMe",
        "account",
        "Delete the caller's account",
        "With all their conversations; their running turns are stopped.",
        (Answer(204, "It is gone.", media=None),),
        ("log_unavailable",),
    ),
)

MONITORING: Final = (
    Operation(
        "get",
        "/",
        "root",
        "monitoring",
        "What this server is",
        "Its version, and which providers are configured.",
        (Answer(200, "The server.", schemas.ServiceInfo),),
        public=True,
    ),
    Operation(
        "get",
        "/health",
        "health",
        "monitoring",
        "How the server fares",
        "Answers 200 also while degraded: the server then still serves.",
        (Answer(200, "Its health.", schemas.HealthReport),),
        public=True,
    ),
    Operation(
        "get",
        "/health/live",
        "live",
        "monitoring",
        "Whether the process runs",
        "For a liveness probe.",
        (Answer(200, "It runs.", schemas.Alive),),
        public=True,
    ),
    Operation(
        "get",
        "/health/ready",
        "ready",
        "monitoring",
        "Whether new requests may be sent here",
        "For a readiness probe: 503 while the server is starting or draining.",
        (Answer(200, "It is ready.", schemas.Ready),),
        ("shutting_down",),
        public=True,
    ),
    Operation(
        "get",
        "/stats",
        "stats",
        "monitoring",
        "What happened lately",
        "Turns, tokens, cost, latencies and errors of a window of time, from the log. For the admin.",
        (Answer(200, "The numbers.", schemas.Statistics),),
        ("invalid_request", "log_unavailable"),
        parameters=("window",),
    ),
    Operation(
        "get",
        "/metrics",
        "metrics",
        "monitoring",
        "Metrics for Prometheus",
        "Of this process. For the admin.",
        (Answer(200, "Prometheus' text format.", media=TEXT),),
    ),
)

REFERENCE: Final = (
    Operation(
        "get",
        "/openapi.json",
        "openapi",
        "reference",
        "This description, for machines",
        "An OpenAPI 3.1 document.",
        (Answer(200, "The document."),),
        public=True,
    ),
    Operation(
        "get",
        "/docs",
        "docs",
        "reference",
        "This description, for people",
        "A page made of the document.",
        (Answer(200, "The page.", media=HTML),),
        public=True,
    ),
)
