"""docs/operations.md names every setting with its default, every log event and metric, and no others."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from node.config import CollatorConfig, NodeConfig, PeerConfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()
LOGGED = re.compile(r'\b_?log\.(?:debug|info|warning|error|exception)\(\s*"([a-z_]+\.[a-z_]+)"')


def settings(kind: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and their defaults."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if name == "home":
            continue
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            found |= settings(type(default), f"{prefix}{name}.")
        elif name == "collator":
            found |= settings(CollatorConfig, "collator.")
        elif name == "peers":
            found |= settings(PeerConfig, f"{prefix}peers.")
        else:
            found[prefix + name] = "required" if field.is_required() else default
    return found


def written(default: Any) -> str:
    """A default as the document writes it."""
    if default is None:
        return "none"
    return str(default) or "empty"


@pytest.mark.parametrize(("key", "default"), settings(NodeConfig).items())
def test_every_setting_is_documented_with_its_default(key: str, default: Any) -> None:
    assert f"| `{key}` | {written(default)} |" in TEXT


def test_no_setting_is_documented_that_does_not_exist() -> None:
    table = TEXT.split("## Configuration")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)) == sorted(settings(NodeConfig))


def test_log_events_are_the_same_in_document_and_code() -> None:
    logged = {
        event
        for room in ("node", "net", "enclaves")
        for path in (ROOT / room).rglob("*.py")
        for event in LOGGED.findall(path.read_text())
    }
    table = TEXT.split("## Log events")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", table, re.MULTILINE)) == logged


def test_metrics_are_documented() -> None:
    source = (ROOT / "node" / "metrics.py").read_text()
    gauges = re.findall(r'^            "(\w+)": ', source, re.MULTILINE)
    fixed = re.findall(r'f"{PREFIX}_(\w+)"', source)
    assert len(gauges) > 8
    assert len(fixed) > 5
    for name in (*gauges, *fixed):
        assert f"`phalanx_{name}" in TEXT
