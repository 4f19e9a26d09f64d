"""Other gateways between the load and the provider, each as its makers run it in production, as far as it goes without a
database: no log, no journal."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers import Server, free_port, process

_LITELLM_KEY = "sk-bench"
_LITELLM = """
model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "{provider}", api_key: bench}}
litellm_settings: {{telemetry: false, request_timeout: 600, set_verbose: false, json_logs: true}}
general_settings: {{master_key: {key}}}
"""
# Its price list comes with it instead of from the net; no log line a turn.
_LITELLM_ENVIRONMENT = {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
_TENSORZERO = """
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true
[models.bench]
routing = ["bench"]
[models.bench.providers.bench]
type = "openai"
api_base = "{provider}"
model_name = "bench"
api_key_location = "none"
"""
_NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream provider {{ server {provider}; keepalive 512; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 100000000;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # nginx's worker is nobody where its master is root.
        folder.chmod(0o755)
        yield folder


@contextmanager
def nginx(provider: Server) -> Iterator[Server | None]:
    """A bare proxy that looks into nothing; None where nginx is not installed."""
    if (program := shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")) is None:
        yield None
        return
    port = free_port()
    with _folder() as folder:
        host = provider.url.removeprefix("http://").removesuffix("/v1")
        (folder / "nginx.conf").write_text(_NGINX.format(provider=host, port=port), encoding="utf-8")
        arguments = ("-p", str(folder), "-c", "nginx.conf", "-e", "stderr")
        with process(*arguments, ready=port, program=program) as pid:
            yield Server("nginx", f"http://127.0.0.1:{port}/v1", pid, model="bench")


@contextmanager
def litellm(provider: Server, python: Path) -> Iterator[Server | None]:
    """LiteLLM's proxy, one worker, with a key to show; None where it is not installed beside `python`."""
    program = python.parent / "litellm"
    if not program.exists():
        yield None
        return
    port = free_port()
    with _folder() as folder:
        config = folder / "litellm.yaml"
        config.write_text(_LITELLM.format(provider=provider.url, key=_LITELLM_KEY), encoding="utf-8")
        arguments = ("--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
        with process(*arguments, environment=_LITELLM_ENVIRONMENT, ready=port, program=str(program)) as pid:
            headers = (f"Authorization: Bearer {_LITELLM_KEY}",)
            yield Server("litellm", f"http://127.0.0.1:{port}/v1", pid, headers, model="bench")


@contextmanager
def tensorzero(provider: Server, python: Path) -> Iterator[Server | None]:
    """TensorZero's gateway with its observability off, and no key to show; None where it is not installed beside `python`."""
    if not any(python.parent.parent.glob("lib/python*/site-packages/tensorzero")):
        yield None
        return
    with _folder() as folder:
        config, address = folder / "tensorzero.toml", folder / "address"
        config.write_text(_TENSORZERO.format(provider=provider.url), encoding="utf-8")
        arguments = ("-W", "ignore::DeprecationWarning", "bench/peers_tensorzero.py", str(config), str(address))
        with process(*arguments, ready=address, program=str(python)) as pid:
            yield Server("tensorzero", address.read_text(encoding="utf-8"), pid, model="tensorzero::model_name::bench")
