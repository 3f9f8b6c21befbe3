"""What people, probes and browsers ask a server for that is no prediction."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from rnnapps.server.manager import Model, State
from rnnapps.server.options import NOTICE

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET,POST",
    "Access-Control-Allow-Headers": "Origin, X-Requested-With, Content-Type, Accept",
}

_PAGE = """<!doctype html>
<meta charset="utf-8"><title>rnnapps serve</title>
<style>body {{ font: 16px/1.5 system-ui; max-width: 60em; margin: 2em auto; padding: 0 1em }}
pre {{ background: #f4f4f4; padding: .7em; overflow: auto }}</style>
<h1>rnnapps serve</h1>
<p>{notice}. <a href="/v1/models">Models as JSON</a>, <a href="/healthz">health</a>,
<a href="/monitoring/prometheus/metrics">metrics</a>.</p>
{models}
"""
_MODEL = """<h2><a href="/v1/models/{name}">{name}</a></h2>
<p>{states} <a href="/v1/models/{name}/metadata">Endpoints</a></p>
{ask}{card}"""


def is_ready(models: Mapping[str, Model]) -> bool:
    """Whether one model at least answers, and none is on its way."""
    states = [version.state for model in models.values() for version in model.versions.values()]
    return State.AVAILABLE in states and not {State.START, State.LOADING} & set(states)


def listed(models: Mapping[str, Model]) -> dict[str, Any]:
    """All models, each with the state of its versions, the highest first."""
    return {
        "models": [
            {"name": name, "versions": [{"version": str(number), "state": state} for number, state in _states(model)]}
            for name, model in sorted(models.items())
        ]
    }


def index(models: Mapping[str, Model]) -> str:
    """A page that names each model, its versions, how to ask it, and its card."""
    parts = []
    for name, model in sorted(models.items()):
        states = "; ".join(f"version {number}: {state}" for number, state in _states(model)) or "no version"
        ask, card = _request(model), _read(model, "MODEL_CARD.md")
        parts.append(
            _MODEL.format(
                name=html.escape(name),
                states=f"{states}.",
                ask=f"<pre>{html.escape(ask)}</pre>\n" if ask else "",
                card=f"<details><summary>Card</summary><pre>{html.escape(card)}</pre></details>\n" if card else "",
            )
        )
    return _PAGE.format(notice=html.escape(NOTICE.capitalize()), models="".join(parts))


def _states(model: Model) -> list[tuple[int, str]]:
    return [(number, State.Name(one.state)) for number, one in sorted(model.versions.items(), reverse=True)]


def _request(model: Model) -> str:
    """The request that export wrote, as a line for a shell; nothing if it is too long for one."""
    try:
        content = json.loads(_read(model, "client/request_row.json"))
    except ValueError:
        return ""
    text = json.dumps(content, ensure_ascii=False).replace("'", "'\\''")
    asked = f"curl -d '{text}' localhost:8501/v1/models/{model.home.name}:predict"
    return asked if len(asked) < 2_000 else f"sh {model.home.name}/client/curl.sh"


def _read(model: Model, name: str) -> str:
    """A file beside the versions of a model, or nothing."""
    try:
        return (model.home.folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
