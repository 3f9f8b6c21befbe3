"""How this process uses the machine: threads, devices, seeds."""

from pathlib import Path
from typing import Any

import absl.logging
import keras
import tensorflow as tf

from rnnapps.errors import UsageError
from rnnapps.ops import execution

_BFLOAT16_FROM = (8, 0)  # compute capability


def configure(threads: int = 0) -> None:
    """Sets the thread counts; to be called once, before TensorFlow runs anything.

    On a CPU each core gets rows of its own (see `ops.execution.row_shards`), so an operation runs on one thread and
    independent operations side by side: the small products of a recurrent step gain nothing from a second core that
    they would have to wait for.

    Args:
        threads: Processor threads to use; 0 takes all cores.
    """
    tf.config.threading.set_inter_op_parallelism_threads(threads or execution.available_cores())
    tf.config.threading.set_intra_op_parallelism_threads(1)
    # A loaded export has no gradient of its loops, which TensorFlow warns of and nobody here asks for.
    # Through absl itself: TensorFlow puts back the verbosity that absl knows of.
    absl.logging.set_verbosity(absl.logging.ERROR)


def jit_compile() -> bool:
    """Whether XLA compiles what learns, validates and writes while it learns: where TensorFlow sees a GPU.

    On a processor the loops over rows run side by side, which is faster than what XLA makes of them.
    """
    return bool(tf.config.list_physical_devices("GPU"))


def bucket() -> int:
    """What the lengths of sentences are padded to a multiple of: XLA compiles a program for each."""
    return 16 if jit_compile() else 1


def precision(wanted: str) -> str:
    """The Keras policy for `wanted`: "auto" is mixed_bfloat16 where the device has matrix units for it, else float32.

    Without them a product in bfloat16 is slower than one in float32. GPUs have them from compute capability 8.0 on;
    older ones stay at float32, since for float16 the loss would have to be scaled, which is not done here.
    """
    if wanted != "auto":
        return wanted
    if gpus := tf.config.list_physical_devices("GPU"):
        return "mixed_bfloat16" if all(map(_multiplies_bfloat16, gpus)) else "float32"
    try:
        fast = "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux
        fast = False
    return "mixed_bfloat16" if fast else "float32"


def _multiplies_bfloat16(gpu: Any) -> bool:
    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
    return capability is not None and tuple(capability) >= _BFLOAT16_FROM


def check_gpu(wanted: bool) -> None:
    """Raises UsageError where a GPU is wanted and TensorFlow sees none."""
    if wanted and not tf.config.list_physical_devices("GPU"):
        raise UsageError(
            "--check-gpu: TensorFlow sees no GPU, wanted one and its libraries (pip install 'rnnapps[gpu]')"
        )


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow, and so whatever draws without a seed of its own."""
    keras.utils.set_random_seed(seed)
