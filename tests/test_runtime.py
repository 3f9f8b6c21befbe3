"""How a process uses the machine."""

import pytest

from rnnapps import runtime


@pytest.mark.parametrize(
    ("cores", "batch_size", "shards"),
    [
        (1, 64, 1),
        (2, 64, 2),
        (2, 24, 2),
        (2, 14, 1),
        (2, 25, 1),
        (2, 1, 1),
        (4, 64, 4),
        (4, 24, 3),
        (3, 32, 2),
        (64, 32, 4),
    ],
)
def test_row_shards_are_equal_and_at_least_eight_rows(monkeypatch, cores, batch_size, shards):
    monkeypatch.setattr(runtime, "_row_shards", cores)
    assert runtime.row_shards(batch_size) == shards


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
