"""The benchmark of `serve`, small: every figure is there, and no request fails."""

from __future__ import annotations

import json
import sys

import bench_serve
import pytest

from rnnapps.config import shipped_models

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="serve runs on Linux"),
    pytest.mark.skipif("shakespeare" not in shipped_models(), reason="wants the shipped models"),
]


def test_all_figures(tmp_path, capsys):
    options = ["--starts", "1", "--rounds", "3", "--chars", "5", "--clients", "4", "--seconds", "1"]
    assert bench_serve.main([*options, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["cold"]["seconds"]) == 1 and figures["cold"]["seconds"][0] > 0
    assert set(figures["latency"]) == {"serve, REST", "C API alone", "ratio"}
    for way in ("alone", "batched"):
        assert figures["load"][way]["errors"] == 0 < figures["load"][way]["requests"]
    printed = capsys.readouterr().out
    assert "cold start to first answer" in printed and "batching answers" in printed


def test_what_is_not_known_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        bench_serve.main(["speed"])
    assert caught.value.code == 2 and "speed: wanted cold, latency or load" in capsys.readouterr().err
