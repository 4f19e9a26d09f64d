"""The Helm chart, and deploy/kubernetes.yaml, which is what it makes of its defaults."""

import hashlib
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from gateway.settings import Settings, load
from tests.documents import ROOT

CHART = ROOT / "deploy" / "helm"
RENDERED = ROOT / "deploy" / "kubernetes.yaml"
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")

EVERYTHING = """
secret: {create: true, values: {DATABASE_URL: "postgres://db/gateway", REDIS_URL: "redis://r:6379/0", ADMIN_TOKEN: t}}
autoscaling: {enabled: true}
ingress: {enabled: true, className: traefik, tlsSecret: tls, annotations: {some: thing}}
serviceMonitor: {enabled: true}
persistence: {storageClass: fast}
nodeSelector: {some: label}
tolerations: [{key: some, operator: Exists}]
"""

Manifests = dict[tuple[str, str], dict[str, Any]]


def manifests(text: str) -> Manifests:
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text) if one}


def helm(*words: str, values: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["helm", *words], input=values, capture_output=True, text=True, timeout=60, check=False)


def rendered(values: str = "{}") -> Manifests:
    run = helm("template", "m3ajem-gateway", str(CHART), "--values", "-", values=values)
    assert run.returncode == 0, run.stderr
    return manifests(run.stdout)


DEFAULTS = manifests(RENDERED.read_text(encoding="utf-8"))
POD = DEFAULTS["StatefulSet", "m3ajem-gateway"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]


def digest() -> str:
    """What Helm renders from; NOTES and the like would not be there."""
    files = sorted(path for path in CHART.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_the_plain_manifests_are_those_of_this_chart() -> None:
    """If not: write this comment, and what `helm template m3ajem-gateway deploy/helm` prints, to deploy/kubernetes.yaml."""
    assert RENDERED.read_text(encoding="utf-8").splitlines()[0] == f"# deploy/helm {digest()}"


@needs_helm
def test_helm_makes_the_plain_manifests() -> None:
    assert helm("lint", str(CHART)).returncode == 0
    assert rendered() == DEFAULTS


@needs_helm
def test_helm_with_everything_on() -> None:
    found = rendered(EVERYTHING)
    optional = {("HorizontalPodAutoscaler", "m3ajem-gateway"), ("Ingress", "m3ajem-gateway"), ("Secret", "m3ajem-gateway")}
    assert found.keys() == DEFAULTS.keys() | optional | {("ServiceMonitor", "m3ajem-gateway")}
    stateful = found["StatefulSet", "m3ajem-gateway"]["spec"]
    assert "replicas" not in stateful
    assert stateful["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    assert found["HorizontalPodAutoscaler", "m3ajem-gateway"]["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"
    assert found["Secret", "m3ajem-gateway"]["stringData"]["REDIS_URL"] == "redis://r:6379/0"
    [endpoint] = found["ServiceMonitor", "m3ajem-gateway"]["spec"]["endpoints"]
    assert endpoint["path"] == "/metrics"
    labels = found["ServiceMonitor", "m3ajem-gateway"]["spec"]["selector"]["matchLabels"]
    assert labels == found["Service", "m3ajem-gateway"]["metadata"]["labels"]


@needs_helm
def test_helm_refuses_replicas_that_would_not_find_each_others_turns() -> None:
    run = helm(
        "template", "x", str(CHART), "--values", "-", values="secret: {create: true, values: {DATABASE_URL: postgres://db/x}}"
    )
    assert run.returncode != 0
    assert "REDIS_URL" in run.stderr


def test_settings_are_settings() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    environment = {one["name"]: one["value"] for one in CONTAINER["env"]}
    assert {name.lower() for name in environment} <= Settings.model_fields.keys()
    assert environment.keys() == {"HOST", "PORT", "DATA_DIR", "DRAIN_S", *values["settings"]}
    settings = load(environment | {"ADMIN_TOKEN": "x"}, None)
    assert (settings.port, str(settings.data_dir)) == (CONTAINER["ports"][0]["containerPort"], "/data")
    named = re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)\b", (CHART / "values.yaml").read_text(encoding="utf-8"))
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_probes_ask_where_there_are_answers() -> None:
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/health/live",
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }
    assert {probe["port"] for probe in probes.values()} == {CONTAINER["ports"][0]["name"]}


def test_running_turns_have_time_to_finish() -> None:
    drain = float(next(one["value"] for one in CONTAINER["env"] if one["name"] == "DRAIN_S"))
    [word, pause] = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    assert POD["terminationGracePeriodSeconds"] > drain + float(pause)


def test_it_can_change_nothing_but_its_volume() -> None:
    uid = re.search(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert uid is not None
    assert POD["securityContext"]["runAsUser"] == POD["securityContext"]["fsGroup"] == int(uid[1])
    assert POD["securityContext"]["runAsNonRoot"]
    assert not POD["automountServiceAccountToken"]
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    [claim] = DEFAULTS["StatefulSet", "m3ajem-gateway"]["spec"]["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounts == {claim["metadata"]["name"]: "/data", "tmp": "/tmp"}


def test_whoever_selects_pods_selects_these() -> None:
    labels = DEFAULTS["StatefulSet", "m3ajem-gateway"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        DEFAULTS["StatefulSet", "m3ajem-gateway"]["spec"]["selector"]["matchLabels"],
        DEFAULTS["PodDisruptionBudget", "m3ajem-gateway"]["spec"]["selector"]["matchLabels"],
        *(DEFAULTS["Service", name]["spec"]["selector"] for name in ("m3ajem-gateway", "m3ajem-gateway-pods")),
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert DEFAULTS["StatefulSet", "m3ajem-gateway"]["spec"]["serviceName"] == "m3ajem-gateway-pods"
