"""How a process uses the machine."""

import importlib

import pytest

from rnnapps import cli, runtime
from rnnapps import config as configs
from rnnapps.errors import UsageError


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


def a_machine_with(monkeypatch, *capabilities):
    """GPUs, by what TensorFlow reports of them."""
    monkeypatch.setattr(runtime.tf.config, "list_physical_devices", lambda kind: list(capabilities))
    told = {capability: {"compute_capability": capability} if capability else {} for capability in capabilities}
    monkeypatch.setattr(runtime.tf.config.experimental, "get_device_details", told.get)


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(7, 5)], "float32"),
        ([(9, 0), (7, 0)], "float32"),
        ([None], "float32"),
    ],
    ids=["ampere", "two", "turing", "one_is_old", "unknown"],
)
def test_auto_precision_follows_the_gpus(monkeypatch, capabilities, policy):
    a_machine_with(monkeypatch, *capabilities)
    assert runtime.precision("auto") == policy
    assert runtime.precision("float32") == "float32"


def test_xla_compiles_where_there_is_a_gpu(monkeypatch):
    assert not runtime.jit_compile() and runtime.bucket() == 1
    a_machine_with(monkeypatch, (8, 0))
    assert runtime.jit_compile() and runtime.bucket() > 1
    runtime.check_gpu(True)


def test_check_gpu_refuses_a_machine_without_one(tmp_path):
    runtime.check_gpu(False)
    for task in cli.tasks():
        config = importlib.import_module(f"rnnapps.{task}.config")
        wanted = configs.replace(config.PRESETS["tiny"], check_gpu=True, run=tmp_path / task)
        with pytest.raises(UsageError, match="--check-gpu: TensorFlow sees no GPU"):
            importlib.import_module(f"rnnapps.{task}.task").train(wanted)
        assert not wanted.run.exists()
