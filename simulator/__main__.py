"""`python -m simulator --port 9001`: run a simulator by hand until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import importlib.util
import signal
import sys
from pathlib import Path

from simulator.script import Script, parse_text
from simulator.server import Settings, Simulator, start_simulator


def main() -> int:
    """Read the flags, serve, and return the exit status."""
    try:
        arguments = _arguments().parse_args()
        settings = Settings(
            script=_script(arguments),
            fixtures=tuple(arguments.fixtures),
            directives=not arguments.no_directives,
        )
    except ValueError as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    factory = None
    if importlib.util.find_spec("uvloop"):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_serve(arguments.host, arguments.port, settings))


def address_line(simulator: Simulator) -> str:
    """Return the line that says where it is and how to point the gateway at it."""
    base = simulator.base_url
    return (
        f"simulator on {base} - OPENAI_BASE_URL={base}/v1 ANTHROPIC_BASE_URL={base} GROQ_BASE_URL={base} GOOGLE_BASE_URL={base}"
    )


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=9001, help="port to listen on (9001; 0: any free one)")
    parser.add_argument("--gap-ms", type=float, help="pause between tokens (15)")
    parser.add_argument("--ttft-ms", type=float, help="pause before the reply begins (0)")
    parser.add_argument("--script", default="", help='what every call gets, such as "tokens=100 gap_ms=0 fault=reset@mid"')
    parser.add_argument("--fixtures", type=Path, action="append", default=[], help="a folder of recordings (repeatable)")
    parser.add_argument("--no-directives", action="store_true", help="ignore [[sim: …]] in messages")
    return parser


def _script(arguments: argparse.Namespace) -> Script:
    flags = {"gap_ms": arguments.gap_ms, "ttft_ms": arguments.ttft_ms}
    text = " ".join(f"{name}={value}" for name, value in flags.items() if value is not None)
    return parse_text(text).over(parse_text(arguments.script))


async def _serve(host: str, port: int, settings: Settings) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        simulator = await start_simulator(host, port, settings)
    except OSError as error:
        sys.stderr.write(f"simulator: cannot listen on {host}:{port}: {error.strerror or error}\n")
        return 1
    sys.stdout.write(address_line(simulator) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await simulator.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
