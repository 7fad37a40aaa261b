#!/usr/bin/env python3
"""Draw the dashboard of a system as it is laid out, from its own document: which widgets, where, and what each shows.

There is nothing in the graphs: no system was ever run on AWS. The result is committed as docs/img/dashboard.svg:

    .venv/bin/python tools/dashboard_picture.py > docs/img/dashboard.svg
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config_file import load

_ROOT = Path(__file__).parents[1]
_CELL, _ROW, _GAP = 40, 22, 4
_STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#16191f}.t{font-size:12px;font-weight:600}.l{font-size:11px;fill:#414d5c}"
    ".w{fill:#fff;stroke:#b6bec9}.a{stroke:#d5dbdb;fill:none}.p{fill:#f4f4f4}"
)


def document() -> dict[str, Any]:
    """The dashboard of cryoem.yaml's system; what only a deployment knows is left out."""
    app = make_app(outdir=tempfile.mkdtemp())
    stacks = build(app, load(_ROOT / "cryoem.yaml"), config_folder=_ROOT)
    template = app.synth().get_stack_by_name(stacks.hooks.stack_name).template
    (found,) = [each for each in template["Resources"].values() if each["Type"] == "AWS::CloudWatch::Dashboard"]
    body = found["Properties"]["DashboardBody"]
    parts = body["Fn::Join"][1] if isinstance(body, dict) else [body]
    made: dict[str, Any] = json.loads("".join(part if isinstance(part, str) else "?" for part in parts))
    return made


def labels(widget: Mapping[str, Any]) -> Iterator[str]:
    """What its graph's key names."""
    for entry in widget["properties"].get("metrics", []):
        options = entry[-1] if isinstance(entry[-1], dict) else {}
        if options.get("visible", True) and options.get("label"):
            yield options["label"]
    for line in widget["properties"].get("annotations", {}).get("horizontal", []):
        yield f"- - {line['label']}"


def drawn(widget: Mapping[str, Any]) -> Iterator[str]:
    """One widget."""
    x, y = widget["x"] * _CELL + _GAP, widget["y"] * _ROW + _GAP
    width, height = widget["width"] * _CELL - 2 * _GAP, widget["height"] * _ROW - 2 * _GAP
    properties = widget["properties"]
    yield f'<rect class="w" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
    yield f'<text class="t" x="{x + 10}" y="{y + 20}">{escape(properties.get("title", ""))}</text>'
    if widget["type"] == "alarm":
        yield f'<text class="l" x="{x + 10}" y="{y + 42}">{len(properties["alarms"])} alarms, each with its state</text>'
        return
    if properties.get("view") == "singleValue":
        yield f'<text class="l" x="{x + 10}" y="{y + 44}">a number</text>'
        return
    yield f'<path class="a" d="M{x + 12} {y + 32}V{y + height - 30}H{x + width - 12}"/>'
    key = escape("   ".join(dict.fromkeys(labels(widget))))
    yield f'<text class="l" x="{x + 12}" y="{y + height - 10}" xml:space="preserve">{key}</text>'


def picture(found: Mapping[str, Any]) -> str:
    """The SVG."""
    height = max(widget["y"] + widget["height"] for widget in found["widgets"]) * _ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * _CELL} {height}" role="img">',
        "<title>Layout of the dashboard</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="p" width="{24 * _CELL}" height="{height}"/>',
        *(line for widget in found["widgets"] for line in drawn(widget)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(picture(document()))
