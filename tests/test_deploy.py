"""What stands under deploy/ fits the gateway: dashboards and alerts ask for metrics that there are, by labels that they have."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.observe.gauges import KEY_STATES
from simulator import Script
from tests.documents import ROOT, section
from tests.running import Start

DASHBOARD = ROOT / "deploy" / "grafana" / "m3ajem-gateway.json"
PROMETHEUS = ROOT / "deploy" / "prometheus"
TABLE = section(ROOT / "docs" / "operate.md", "Metrics")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
SELECTOR = re.compile(r"\b(gateway_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*=~?\s*"([^"]*)"')
GROUPING = re.compile(r"by \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job", "le"}


def panels() -> list[dict[str, Any]]:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    variables = [one["definition"] for one in document["templating"]["list"] if one["type"] == "query"]
    return [target["expr"] for panel in panels() for target in panel["targets"]] + [rule["expr"] for rule in rules()] + variables


async def families(start_gateway: Start) -> dict[str, set[str]]:
    """Every name that a query can use, with the labels its samples have."""
    gateway = await start_gateway(
        FALLBACK_PROVIDERS="anthropic", MAX_RETRIES="1", OPENAI_MODEL="a-model-without-a-price", CACHE_TTL_S="60"
    )
    await gateway.ask({"message": "ما معنى «قلم»؟"})
    gateway.simulator.script(Script(status=500, provider="openai"), calls=2)
    await gateway.ask({"message": "ما معنى «كتاب»؟"})
    gateway.simulator.script(Script(status=400))
    await gateway.client.post("/chat", json={"message": "سلام", "provider": "google"})
    text = (await gateway.client.get("/metrics")).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for suffix in SUFFIXES[family.type]:
            labels = {label for sample in family.samples if sample.name == family.name + suffix for label in sample.labels}
            found[family.name + suffix] = labels
    return found


async def test_queries_name_what_there_is(start_gateway: Start) -> None:
    known = await families(start_gateway)
    asked: set[str] = set()
    for query in queries():
        for name, selected in SELECTOR.findall(query):
            assert name in known, f"{query}: there is no {name}"
            asked.add(name)
            labels = {label for label, _ in LABEL.findall(selected)}
            assert labels <= known[name] | OF_PROMETHEUS, query
        grouped = {label.strip() for labels in GROUPING.findall(query) for label in labels.split(",")}
        possible = set().union(*(known[name] for name, _ in SELECTOR.findall(query)), OF_PROMETHEUS)
        assert grouped <= possible, query
    # And what is measured is shown: sums and counts stand behind their buckets.
    shown = {name for name in known if not name.endswith(("_sum", "_count", "_created"))}
    assert shown <= asked
    documented = set(re.findall(r"`(gateway_\w+)`", TABLE))
    assert documented == {name.removesuffix("_bucket") for name in shown}


def test_states_are_those_of_keys() -> None:
    for query in queries():
        for label, value in LABEL.findall(query):
            if label == "state":
                assert set(value.split("|")) <= set(KEY_STATES), query


def test_every_panel_and_alert_has_a_name_of_its_own() -> None:
    titles = [panel["title"] for panel in panels()]
    ids = [panel["id"] for panel in panels()]
    names = [rule["alert"] for rule in rules()]
    for found in (titles, ids, names):
        assert len(set(found)) == len(found)
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in ("critical", "warning") for rule in rules())


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


@pytest.mark.parametrize("path", sorted(PROMETHEUS.glob("*.yml")), ids=lambda path: path.name)
def test_prometheus_files_are_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_tested_alerts_are_those_there_are() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    tested = {one["alertname"] for test in tests for one in test["alert_rule_test"]}
    assert tested <= {rule["alert"] for rule in rules()}


def test_every_alert_is_explained() -> None:
    explained = re.findall(r"`(Gateway\w+)`", section(ROOT / "docs" / "operate.md", "When an alert rings"))
    assert set(explained) == {rule["alert"] for rule in rules()}
