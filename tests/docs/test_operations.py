"""What operators are told is true: every command, metric, page, alert and heading that is named exists."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from okr_chassis.settings import Settings
from okr_chassis.telemetry.tracing import wanted
from okr_chassis.watching.metrics import METRICS
from okr_chassis.watching.watch import Watching
from okr_cli.app import build

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()
ALERTS = yaml.safe_load((ROOT / "deploy" / "observability" / "alerts.yml").read_text())
DASHBOARD = json.loads((ROOT / "deploy" / "observability" / "dashboard.json").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]

NAMES = {metric.name: metric for metric in METRICS}
BY_OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Prometheus' own, and its client's."""
GIVEN_OUTSIDE = {"OKR_TOKEN", "OKR_AS", "OKR_ORGANIZATION", "OKR_DATABASE_PASSWORD", "OKR_VERSION"}
"""What the command line and the compose file read besides the settings."""


def in_code() -> list[str]:
    """All that stands in backticks or in a block of code, block by block and line by line."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))


COMMANDS = sorted({code for code in in_code() if re.match(r"(\w+=\S+ )*okr ", code)})
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]


def headings() -> set[str]:
    titles = re.findall(r"^#+ (.*)$", TEXT, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 8
    assert len(RULES) > 10
    assert len(PANELS) > 10


@pytest.mark.parametrize("line", COMMANDS)
def test_every_okr_command_exists_with_its_options(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if "=" not in word.partition("okr")[0]]
    found: Any = typer.main.get_command(build())
    rest = words[1:]
    while rest and hasattr(found, "commands"):
        assert rest[0] in found.commands, f"{line}: there is no such command in {found.name}"
        found = found.commands[rest.pop(0)]
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= options, line


def test_every_metric_is_explained_and_no_other_is_named() -> None:
    rows = re.findall(r"^\| ((?:`okr_[a-z_]+`(?:, )?)+) \|", TEXT, flags=re.MULTILINE)
    explained = [name for row in rows for name in re.findall("okr_[a-z_]+", row)]
    assert sorted(explained) == sorted(NAMES)
    packages = {path.name for path in (ROOT / "services").glob("*/okr_*")}
    assert set(re.findall(r"\bokr_[a-z_]+", TEXT)) <= set(NAMES) | packages


def test_every_page_and_every_setting_that_is_named_exists() -> None:
    pages = Watching({}).pages
    assert set(re.findall(r"`(/[a-z]+)`", TEXT)) == {"/metrics", "/livez", "/readyz"} <= set(pages)
    named = set(re.findall(r"\bOKR_[A-Z_]+[A-Z]\b", TEXT))
    settings = {f"OKR_{field.upper()}" for field in Settings.model_fields}
    assert {name for name in named if not name.startswith("OKR_PEERS__")} <= settings | GIVEN_OUTSIDE
    assert wanted(dict.fromkeys(re.findall(r"`(OTEL_[A-Z_]*ENDPOINT)`", TEXT), "x"))


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, anchor = target.partition("#")
        if file:
            assert (ROOT / "docs" / file).exists(), target
        else:
            assert anchor in headings(), target


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_alerts_and_panels_ask_for_metrics_and_labels_that_exist(expression: str) -> None:
    """The language itself is Prometheus' to check (promtool); whatever it cannot know is checked here."""
    assert expression.count("(") == expression.count(")")
    without_strings = re.sub(r'"[^"]*"', '""', expression)
    asked = re.findall(r"\b((?:okr|process)_[a-z_]+|up)\b", without_strings)
    assert asked, expression
    labels = {"le", "job", "instance"}
    for name in asked:
        metric = NAMES.get(re.sub("_(bucket|sum|count)$", "", name)) or NAMES.get(name)
        assert metric is not None or name in BY_OTHERS, f"nobody tells {name}"
        labels |= set(metric.labels) if metric is not None else set()
        counted = metric is not None and metric.kind == "counter"
        assert not counted or re.search(rf"(rate|increase)\({name}", expression), f"{name} only ever grows"
    used = set(re.findall(r"([a-z_]+)\s*=~?", re.sub(r"[!=<>]=", "", without_strings)))
    used |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    assert used <= labels, expression


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (ROOT / file).exists()
    assert anchor in headings()
    reasons = re.findall(r'reason="([A-Z_]+)"', rule["expr"])
    relay = (ROOT / "libs/chassis/okr_chassis/kafka/relay.py").read_text()
    assert [reason for reason in reasons if f'"{reason}"' not in relay] == []


def test_every_reason_of_a_relay_is_explained() -> None:
    relay = (ROOT / "libs/chassis/okr_chassis/kafka/relay.py").read_text()
    reasons = set(re.findall(r'(?:code = |Reason\(\s*)"([A-Z_]+)"', relay))
    [told] = re.findall(r"^### The relay stands still$(.*?)^### ", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert reasons == set(re.findall(r"^\| `([A-Z_]+)` \|", told, flags=re.MULTILINE))


def test_the_panels_have_places_of_their_own_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["description"].endswith(".")
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
