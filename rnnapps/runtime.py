"""How this process uses the machine: threads, devices, seeds."""

from pathlib import Path

import absl.logging
import keras
import tensorflow as tf

from rnnapps.ops import execution


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


def precision(wanted: str) -> str:
    """The Keras policy for `wanted`: "auto" is mixed_bfloat16 where the processor has matrix units for it.

    Without them a product in bfloat16 is slower than one in float32.
    """
    if wanted != "auto":
        return wanted
    try:
        fast = "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux
        fast = False
    return "mixed_bfloat16" if fast else "float32"


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow, and so whatever draws without a seed of its own."""
    keras.utils.set_random_seed(seed)
