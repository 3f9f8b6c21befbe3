"""How a process uses the machine."""

import pytest

from rnnapps import runtime


@pytest.mark.parametrize(
    ("flags", "policy"), [("flags: sse4_2 amx_bf16 amx_tile", "mixed_bfloat16"), ("flags: sse4_2 avx2", "float32")]
)
def test_auto_precision_follows_the_processor(monkeypatch, flags, policy):
    monkeypatch.setattr(runtime.Path, "read_text", lambda *_, **__: flags)
    assert runtime.precision("auto") == policy
    assert runtime.precision("float32") == "float32"


def test_auto_precision_where_no_processor_is_described(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(runtime.Path, "read_text", missing)
    assert runtime.precision("auto") == "float32"
