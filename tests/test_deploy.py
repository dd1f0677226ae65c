"""What is in deploy/, and compose.yaml: it names nothing that the program does not have."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess

import pytest
from manifests import block, documents
from programs import ANY_CHAT, ask

import oaiserve
from protocol.config import options_of
from protocol.program.kinds import SINGLE, new_configuration
from protocol.server.settings import ServerSettings
from protocol.service.doors import service_doors
from protocol.service.metrics import METRICS
from protocol.team.keys_file import read_keys_file

ROOT = pathlib.Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
SAMPLES = {f"oaiserve_{name}{suffix}": metric for name, metric in METRICS.items() for suffix in SUFFIXES[metric.kind]}
# What Prometheus gives every sample by itself.
GIVEN = {"instance", "job", "le"}


def read(name):
    return (DEPLOY / name).read_text(encoding="utf-8")


def expressions():
    dashboard = json.loads(read("grafana.json"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    rules = re.sub(r"\n {10,}", " ", read("alerts.yaml"))
    alerts = re.findall(r"^ +expr: (?:\| )?(.+)$", rules, re.MULTILINE)
    assert len(shown) > 20 and len(alerts) == rules.count("alert: ")
    return shown + alerts


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_metrics_and_labels_that_there_are(expression):
    names = re.findall(r"\boaiserve_\w+", expression)
    assert names and set(names) <= set(SAMPLES)
    known = {label for name in names for label in SAMPLES[name].labels} | GIVEN
    used = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
    for labels in re.findall(r"\b(?:by|ignoring|on) \(([^)]*)\)", expression):
        used |= {label.strip() for label in labels.split(",")}
    assert used <= known


def test_a_label_that_a_text_names_is_one_of_its_expression():
    rules = re.split(r"- alert: ", read("alerts.yaml"))[1:]
    dashboard = json.loads(read("grafana.json"))
    texts = [(rule, rule) for rule in rules]
    texts += [(target["legendFormat"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())]  # fmt: skip
    for text, expression in texts:
        told = set(re.findall(r"\{\{ *(?:\$labels\.)?(\w+) *\}\}", text))
        kept = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", expression) for label in labels.split(",")}
        assert told <= kept, text


def test_every_metric_is_shown():
    shown = " ".join(expressions())
    assert [name for name in METRICS if f"oaiserve_{name}" not in shown] == []


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")


def promtool(*words, given=None):
    done = subprocess.run(["promtool", *words], input=given, capture_output=True, timeout=50, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


@needs_promtool
def test_promtool_accepts_the_alerts():
    status, said = promtool("check", "rules", str(DEPLOY / "alerts.yaml"))
    assert status == 0 and "SUCCESS" in said, said


@needs_promtool
def test_promtool_has_nothing_to_say_of_the_metrics():
    with oaiserve.start("mock") as server:
        assert ask(server.port, "POST", "/v1/chat/completions", ANY_CHAT)[0] == 200
        status, _, metrics = ask(server.port, "GET", "/metrics")
    assert status == 200 and b"oaiserve_requests_total" in metrics
    assert promtool("check", "metrics", given=metrics) == (0, "")


def test_panels_of_the_dashboard_do_not_overlap():
    taken = set()
    for panel in json.loads(read("grafana.json"))["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken and all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells


def test_the_cluster_s_configuration_and_keys_are_accepted(tmp_path):
    found = documents()
    config = tmp_path / "config.ini"
    config.write_text(block(found["ConfigMap", "oaiserve"], "config.ini"))
    configuration = new_configuration()
    configuration.read_file(str(config))
    settings = configuration.settings(None, {"OPENAI_API_KEY": "sk-0123456789"})
    assert [route.backends for route in settings.routes] == [("relay",)]
    keys = read_keys_file(block(found["Secret", "oaiserve-keys"], "keys.ini"), "keys.ini")
    assert [key.name for key in keys.keys.values()] == ["alice"]
    pod = found["Deployment", "oaiserve"]
    folder, _, file = settings.server.keys_file.rpartition("/")
    assert f"mountPath: {folder}," in pod and file == "keys.ini"
    store = re.fullmatch(r"redis://([\w-]+):(\d+)/0", settings.single["limits"].store)
    service = found["Service", store[1]]
    assert f"port: {store[2]}," in service and f"containerPort: {store[2]}" in found["StatefulSet", store[1]]


def test_the_cluster_s_parts_refer_to_each_other():
    found = documents()
    pod = found["Deployment", "oaiserve"]
    for kind, name in re.findall(r"(configMap|secretRef|secret): \{(?:name|secretName): ([\w-]+)", pod):
        assert ({"configMap": "ConfigMap"}.get(kind, "Secret"), name) in found
    for kind in ("Service", "PodDisruptionBudget"):
        assert "{app.kubernetes.io/name: oaiserve}" in found[kind, "oaiserve"]
    assert "kind: Deployment, name: oaiserve" in found["HorizontalPodAutoscaler", "oaiserve"]
    assert "containerPort: 8000" in pod and "EXPOSE 8000" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user = re.search(r"USER (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))[1]
    assert f"runAsUser: {user}\n" in pod
    assert f"image: oaiserve:{oaiserve.__version__}\n" in pod


def test_probes_ask_for_doors_that_there_are_and_a_stop_has_its_time():
    pod = documents()["Deployment", "oaiserve"]

    class Routes:
        early_head = None

    doors = service_doors(None, Routes())
    probes = re.findall(r"(\w+)Probe:\n +httpGet: \{path: (\S+),", pod)
    assert dict(probes) == {"startup": "/health", "liveness": "/health", "readiness": "/ready"}
    assert all("GET" in doors[path] for _, path in probes)
    grace = int(re.search(r"terminationGracePeriodSeconds: (\d+)", pod)[1])
    pause = int(re.search(r'\["sleep", "(\d+)"\]', pod)[1])
    drain = int(re.search(r"drain_timeout = (\d+)", documents()["ConfigMap", "oaiserve"])[1])
    assert pause + drain < grace


def test_compose_sets_what_can_be_set_and_its_redis_is_a_profile():
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    sections = {"server": ServerSettings, **SINGLE}
    known = {f"OAISERVE_{name}_{key}".upper() for name, cls in sections.items() for key in options_of(cls)}
    used = set(re.findall(r"^ +(OAISERVE_\w+):", text, re.MULTILINE))
    assert used and used <= known
    configuration = new_configuration()
    configuration.read_environment(dict.fromkeys(used, ""))  # as they are where nobody sets them
    configuration.settings(None, {})
    assert "  redis:\n    profiles: [redis]\n" in text and "redis://redis:6379/0" in text
