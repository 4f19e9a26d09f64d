"""Whether traces and metrics go to an OpenTelemetry collector: what the `OTEL_*` variables say. Without them nothing of it is
even imported."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.observe.telemetry import Telemetry

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL: Final = "http/protobuf"


class TelemetryError(Exception):
    """An `OTEL_*` variable that stops the start: one line naming it and what it takes."""


def open_telemetry(version: str) -> Telemetry | None:
    """Start what is asked for, None when nothing is. Raises `TelemetryError`."""
    told = os.environ
    signals = [signal for signal in ("traces", "metrics") if _is_wanted(signal)]
    if not signals or told.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", *(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL" for signal in signals)):
        if told.get(name, "").strip() not in ("", _PROTOCOL):
            raise TelemetryError(f"{name}: takes {_PROTOCOL}")
    try:
        from gateway.observe.telemetry import Telemetry
    except ModuleNotFoundError as error:
        raise TelemetryError(f"{_ENDPOINT}: needs the packages of requirements-otel.txt ({error.name} is missing)") from error
    return Telemetry(version, traces="traces" in signals, metrics="metrics" in signals)


def _is_wanted(signal: str) -> bool:
    told = os.environ
    endpoint = told.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or told.get(_ENDPOINT)
    return bool(endpoint) and told.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").strip().lower() in ("", "otlp")
