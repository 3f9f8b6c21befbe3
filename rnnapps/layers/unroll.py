import inspect
from typing import Any

import keras
from keras import ops, tree

from rnnapps.cells.cell import GatedCell, register
from rnnapps.cells.linear import LinearCell
from rnnapps.cells.overriding import overridden_call
from rnnapps.layers import parallel
from rnnapps.layers.masking import masked_outputs, time_major
from rnnapps.ops import execution, recurrence

_EXECUTIONS = ("auto", "scan", "xla", "loop")


@register
class Unroll(keras.layers.RNN):
    """A cell over time: `keras.layers.RNN` with every argument, on the engine of `rnnapps.ops.recurrence`.

    A cell in three-part form (`GatedCell`) is projected for all steps before the loop and back-propagated by hand; a
    `LinearCell` is solved for all steps at once, without a loop; any other cell, and the options that break that form
    (`reset_after=False` of a GRU, `unroll=True`), run on Keras' own loop. Outputs, states, masks and gradients are
    those of `keras.layers.RNN` either way.

    Args:
        cell: A cell, or a list of cells that is stacked.
        execution: "scan" is the engine, its loops in the graph; "xla" is the engine, its loops compiled each; "loop" is
            Keras' loop. "auto" takes the engine where the cell has the form for it. (Where XLA compiles the whole
            model, it compiles the engine too.) `execution_reason` says what was taken, and why.
        **kwargs: As in `keras.layers.RNN`.

    Call arguments:
        sequences: `(batch, time, features)`, or with more axes for a cell that takes them.
        initial_state: List of `(batch, units)`, one per state. Default: zeros, or the last state if `stateful`.
        mask: Bool `(batch, time)`. A False step keeps the states, and repeats the last output (or is zero with
            `zero_output_for_mask=True`). With more axes, such as `(batch, time, 1)` or, before a convolution,
            `(batch, time, height, width)`, it does so for a part of each state.
        training: Bool. Whether dropout is applied.

    Returns:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences=True`; with `return_state=True`
        followed by the states after the last step.

    Raises:
        ValueError: On the arguments that `keras.layers.RNN` refuses, and on an `execution` that is not possible.
    """

    # The cell class that a drop-in layer puts in the place of its Keras namesake's cell; None keeps the cell given.
    cell_class: type | None = None

    def __init__(self, cell, execution="auto", **kwargs):
        if execution not in _EXECUTIONS:
            raise ValueError(f"execution must be one of {', '.join(_EXECUTIONS)}, not {execution!r}")
        if self.cell_class is not None:
            cell = _rebuild(cell, self.cell_class)
        super().__init__(cell, **kwargs)
        self.execution = execution
        self._execution_reason = "the layer has not been called"
        self._compiled_run = None

    @property
    def execution_reason(self) -> str:
        """How the layer ran when it was last traced, and why."""
        return self._execution_reason

    def get_config(self):
        config = super().get_config()
        # A layer left at the default stays readable for its Keras namesake.
        return config if self.execution == "auto" else {**config, "execution": self.execution}

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        if self.state_size != [-1]:
            return super().compute_output_shape(sequences_shape, initial_state_shape)
        # Keras' mark of states with several axes, whose shapes are the cell's business.
        output, states = self.cell.compute_output_shape((sequences_shape[0], *sequences_shape[2:]))
        if self.return_sequences:
            output = (output[0], sequences_shape[1], *output[1:])
        return (output, *states) if self.return_state else output

    def build(self, sequences_shape, initial_state_shape=None):
        if getattr(self, "use_cudnn", False) is True:
            raise ValueError(f"{self.name} does not run on cuDNN: got use_cudnn=True, wanted 'auto' or False.")
        super().build(sequences_shape, initial_state_shape)
        # keras.layers.LSTM and GRU switch XLA off where they see a GPU, for the cuDNN kernels that are not used here.
        self.supports_jit = True

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        reason = self._reason_for_loop(training)
        if reason:
            return self._keras_loop(sequences, initial_state, mask, training, reason)
        cell = self.cell
        if isinstance(cell, LinearCell):
            self._execution_reason = "parallel: the cell's recurrence is linear"
            inputs = cell.drop_inputs(sequences, training)
            return parallel.run(cell, inputs, initial_state, mask, self.go_backwards, self.zero_output_for_mask)
        inputs = cell.loop_inputs(sequences, training)
        states = [ops.cast(state, cell.gate_dtype) for state in initial_state]
        kernels = cell.recurrent_weights(training)
        recurrent_mask = cell.recurrent_mask(states[0], training)
        if sequences.shape[1] == 1 and mask is None and recurrent_mask is None:
            self._execution_reason = "one step: there is no loop"
            return self._single_step(inputs, states, kernels)
        shards, why = execution.row_shards(sequences.shape[0])
        self._execution_reason = f"{'xla' if self.execution == 'xla' else 'scan'}: rows in {shards} loops ({why})"
        run = self._compiled() if self.execution == "xla" else self._run
        parts = [run(kernels, *rows) for rows in execution.cut(shards, inputs, states, mask, recurrent_mask)]
        return tree.map_structure(lambda *rows: ops.concatenate(rows) if len(rows) > 1 else rows[0], *parts)

    def _reason_for_loop(self, training):
        """Why a step at a time is what can be run; empty if the engine can."""
        if self.execution == "loop":
            return "asked for"
        changed = [name for cell in _with_inner(self.cell) if (name := overridden_call(cell))]
        if not isinstance(self.cell, (GatedCell, LinearCell)):
            reason = "the cell is not in three-part form"
        elif changed:
            reason = f"{changed[0]} is overridden, and none of the parts that the engine runs in its place"
        elif self.unroll:
            reason = "unroll=True"
        elif isinstance(self.cell, LinearCell):
            if self.execution != "xla":
                return ""
            reason = "the cell has no loop to compile"
        elif not self.cell.is_three_part(training):
            reason = "the cell, with its options, is not in three-part form"
        else:
            return ""
        if self.execution != "auto":
            raise ValueError(f"execution={self.execution!r} of {self.name} is not possible: {reason}")
        return reason

    def _keras_loop(self, sequences, initial_state, mask, training, reason):
        self._execution_reason = f"loop: {reason}"
        if training:
            self._refuse_lost_dropout()
        if getattr(self.cell, "leaves_dropout", False):
            sequences = self.cell.drop_inputs(sequences, training)
        # Not super(): in a drop-in that would be the namesake's loop, which may pick cuDNN.
        return keras.layers.RNN.inner_loop(self, sequences, initial_state, mask=mask, training=training)

    def _refuse_lost_dropout(self):
        """Raises where dropout would silently not be applied: `call` of our own cells leaves it to the layer."""
        lost = (
            ["recurrent_dropout"] if getattr(self.cell, "leaves_dropout", False) else ["recurrent_dropout", "dropout"]
        )
        for cell in _with_inner(self.cell):
            for option in lost:
                if getattr(cell, "leaves_dropout", False) and getattr(cell, option, 0) > 0:
                    raise ValueError(f"{option} of {self.name} wants the engine, but {self._execution_reason}")

    def _compiled(self):
        if self._compiled_run is None:
            self._compiled_run = execution.compiled(self._run)
        return self._compiled_run

    def _run(self, kernels, inputs, states, mask, recurrent_mask):
        """The loop over all steps of some rows: the last output, all outputs, the last states; batch first."""
        inputs = [_swap(x) for x in inputs]  # (time, batch, ...)
        mask = time_major(mask, 1 + len(states[0].shape))
        if self.go_backwards:
            inputs = [ops.flip(x, 0) for x in inputs]
            mask = None if mask is None else ops.flip(mask, 0)
        h, states = self._scan(kernels, inputs, states, mask, recurrent_mask)
        cell = self.cell
        outputs = cell.outputs(h, inputs)
        if mask is not None:
            outputs = masked_outputs(outputs, mask, self.zero_output_for_mask, is_held=outputs is h)
        return outputs[-1], _swap(outputs), states

    def _scan(self, kernels, inputs, states, mask, recurrent_mask):
        """h of all steps, and the last states: block of time after block, each projected when its turn comes."""
        cell, (kernel, bias) = self.cell, kernels
        gates, weights = cell.loop_gates(), cell.gate_weights()
        steps, rows = inputs[0].shape[:2]
        width = cell.kernel.shape[-1] if len(inputs[0].shape) == 3 else 0
        parts: list[Any] = []
        for *given, keep in execution.cut_time(execution.time_blocks(steps, rows, width), *inputs, mask):
            given = execution.after(states, given) if parts else given
            h, states = recurrence.scan(
                gates, cell.project(*given), states, kernel, bias,
                mask=keep, weights=weights, recurrent_mask=recurrent_mask,
            )  # fmt: skip
            parts.append(h)
        return ops.concatenate(parts) if len(parts) > 1 else parts[0], states

    def _single_step(self, inputs, states, kernels):
        (kernel, bias), cell = kernels, self.cell
        inputs = [x[:, 0] for x in inputs]
        states = recurrence.step(cell.loop_gates(), cell.project(*inputs), states, kernel, bias, cell.gate_weights())
        output = cell.outputs(states[0], inputs)
        return output, ops.expand_dims(output, 1), states


def _swap(sequence):
    """(batch, time, ...) to (time, batch, ...) and back."""
    return ops.swapaxes(sequence, 0, 1)


def _with_inner(cell):
    """A cell, and those that it stacks or wraps."""
    inner = [*getattr(cell, "cells", []), *([cell.cell] if hasattr(cell, "cell") else [])]
    return [cell, *(one for each in inner for one in _with_inner(each))]


def _rebuild(cell, cell_class):
    """The same cell, not yet built, as `cell_class`: arguments by name, objects such as initialisers shared."""
    if type(cell) is cell_class:
        return cell
    names = [n for n, p in inspect.signature(type(cell).__init__).parameters.items() if p.kind is not p.VAR_KEYWORD]
    arguments = {name: getattr(cell, name) for name in names if name != "self"}
    if hasattr(cell, "implementation"):
        arguments["implementation"] = cell.implementation
    # The seed that was drawn, if none was given: one more draw would give every later layer other weights than Keras'.
    arguments["seed"] = int(ops.convert_to_numpy(cell.seed_generator.state)[0])
    rebuilt = cell_class(**arguments, name=cell.name, dtype=cell.dtype_policy, trainable=cell.trainable)
    rebuilt.seed = cell.seed
    return rebuilt
