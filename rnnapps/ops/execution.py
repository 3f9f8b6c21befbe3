"""How what is being traced will run, compiled by XLA or not, and on how many cores; and how it is let go of."""

import contextlib
import contextvars
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.eager import record  # no public name tells
from tensorflow.python.framework import ops as framework_ops  # nor forgets a gradient
from tensorflow.python.ops import control_flow_util  # nor here
from tensorflow.python.saved_model import save_context  # nor here

_ROWS_PER_SHARD = 8
# Where a batch is as large as what comes: Keras' default.
_USUAL_ROWS = 32
# Of time: a block holds 16 MiB of projections in float32, and a graph no more of them than this.
_NUMBERS_OF_A_BLOCK = 4 << 20
_MOST_BLOCKS = 8
_is_a_shard = contextvars.ContextVar("is_a_shard", default=False)


def is_compiled_by_xla() -> bool:
    """True while a function with `jit_compile=True`, or one that it calls, is traced."""
    if tf.executing_eagerly():
        return False
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def is_being_saved() -> bool:
    """True while `tf.saved_model.save` traces what it writes: the gradient of a function that was traced before."""
    return save_context.in_save_context()


def as_saved(options: tf.saved_model.SaveOptions) -> contextlib.AbstractContextManager[None]:
    """While open, what is traced is what `tf.saved_model.save` with these options would trace again."""
    context: contextlib.AbstractContextManager[None] = save_context.save_context(options)
    return context


def is_recorded() -> bool:
    """True while a gradient tape of this thread records: what is computed now is likely to get a gradient.

    False does not say that it gets none: a function that was traced without a tape may be called under one.
    """
    return bool(record.could_possibly_record())


def compiled(function: Callable) -> Callable:
    """The function, compiled by XLA as a program of its own, its gradient too."""
    return tf.function(function, jit_compile=True, autograph=False)


def available_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def row_shards(rows: int | None) -> tuple[int, str]:
    """Into how many parts the rows of a batch are cut, each with a loop of its own, and why.

    The loops are independent, so a graph runs them side by side, a core each: no step waits for a second core that
    joins its small products.

    Args:
        rows: The batch size; None where it is not known.
    """
    if _is_a_shard.get():
        return 1, "the rows are one core's share already"
    if tf.executing_eagerly():
        return 1, "eager operations run one after the other"
    if is_compiled_by_xla():
        return 1, "XLA runs the loops of one program one after the other"
    if tf.config.list_physical_devices("GPU"):
        return 1, "there is a GPU"
    cores = tf.config.threading.get_inter_op_parallelism_threads() or available_cores()
    if tf.distribute.has_strategy():  # each replica of this process is a user of them
        cores = max(1, cores // len(tf.distribute.get_strategy().extended.worker_devices))
    shards = max(1, min(cores, (rows or _USUAL_ROWS) // _ROWS_PER_SHARD))
    return shards, f"{cores} cores, {rows or 'unknown'} rows, at least {_ROWS_PER_SHARD} to a shard"


def time_blocks(steps: int | None, rows: int | None, width: int) -> int:
    """Into how many blocks of time a loop is cut, so that the projections of all steps are not there at once.

    One where a tape records: each block would have a way back of its own, which takes longer to trace than it saves.

    Args:
        steps: None where it is not known; then there is one block.
        rows: Of the loop; None where it is not known.
        width: Numbers of a projection, for a step and a row.
    """
    if steps is None or is_compiled_by_xla() or is_recorded():
        return 1
    return max(1, min(_MOST_BLOCKS, steps * (rows or _USUAL_ROWS) * width // _NUMBERS_OF_A_BLOCK))


def cut_time(blocks: int, *sequences: tf.Tensor | None) -> list[list[Any]]:
    """The same blocks of sequences `(time, ...)`; None stays None."""
    if blocks == 1:
        return [list(sequences)]
    steps = next(sequence.shape[0] for sequence in sequences if sequence is not None)
    sizes = [steps * (i + 1) // blocks - steps * i // blocks for i in range(blocks)]
    # A split and no slices, of which each would have a gradient of the size of the whole.
    parts = [[None] * blocks if sequence is None else tf.split(sequence, sizes) for sequence in sequences]
    return [list(block) for block in zip(*parts, strict=True)]


def after(earlier: Sequence[tf.Tensor], tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The tensors, which what is computed of them waits to have until the earlier ones are there."""
    with tf.control_dependencies(list(earlier)):
        return [tf.identity(tensor) for tensor in tensors]


def cut(shards: int, *tensors: Any) -> list[Any]:
    """Parts of the rows of structures of tensors, a tuple of structures each; None stays None."""
    if shards == 1:
        return [tensors]
    first = next(tensor for tensor in tf.nest.flatten(tensors) if tensor is not None)
    rows = first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]
    ends = [rows * i // shards for i in range(shards + 1)]

    def part(first: Any, last: Any) -> Any:
        return tf.nest.map_structure(lambda tensor: None if tensor is None else tensor[first:last], tensors)

    return [part(*bounds) for bounds in itertools.pairwise(ends)]


@contextlib.contextmanager
def one_shard() -> Iterator[None]:
    """While open, `row_shards` gives 1: for somebody who cuts the rows of a whole model, and not of each layer.

    That is the faster way where a model ends with a large product, which the cores would do one after the other.
    """
    token = _is_a_shard.set(True)
    try:
        yield
    finally:
        _is_a_shard.reset(token)


def forget_traced() -> None:
    """Lets go of what earlier networks traced, in a process that makes many.

    TensorFlow registers the gradient of each traced call of a `tf.custom_gradient` for good, and with it the graph of
    that call; and Keras keeps names. Python frees the memory when it next collects garbage. What was traced before
    has no gradient from then on.
    """
    keras.backend.clear_session(free_memory=False)
    gradients = framework_ops.gradient_registry._registry
    for name in [name for name in gradients if name.startswith("CustomGradient-")]:
        del gradients[name]
