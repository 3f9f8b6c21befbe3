"""What TensorFlow computes by oneDNN on some processors and by itself on others, held under both settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Convolutions, softmax, products in half precision and in whole numbers.
FILES = (
    "ops/test_softmax_cost.py", "layers/test_conv_lstm2d.py", "conformance/test_conformance.py",
    "models/test_efficientnet_lite.py", "models/test_captioner.py", "portable/test_quantized.py",
    "serving/test_caption_endpoints.py",
)  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("setting", ["0", "1"])
def test_with_and_without_onednn(setting, tmp_path):
    """TensorFlow itself takes oneDNN on processors with instructions for neural networks alone."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-o", f"cache_dir={tmp_path / 'cache'}"]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": setting}
    done = subprocess.run(
        [*command, *(f"tests/{file}" for file in FILES)], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stdout[-5000:]
