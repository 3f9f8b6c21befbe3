import inspect

import keras
from keras import ops

from rnnapps.cells.cell import GatedCell, register
from rnnapps.ops import recurrence


@register
class Unroll(keras.layers.RNN):
    """A cell over time: `keras.layers.RNN` with every argument, on the engine of `rnnapps.ops.recurrence`.

    A cell in three-part form (`GatedCell`) is projected for all steps before the loop and back-propagated by hand;
    any other cell, and the options that break that form (recurrent dropout while training, `unroll=True`), run on
    Keras' own loop. Outputs, states, masks and gradients are those of `keras.layers.RNN` either way.

    Args:
        cell: A cell, or a list of cells that is stacked.
        **kwargs: As in `keras.layers.RNN`.

    Call arguments:
        sequences: `(batch, time, features)`.
        initial_state: List of `(batch, units)`, one per state. Default: zeros, or the last state if `stateful`.
        mask: Bool `(batch, time)`. A False step keeps the states, and repeats the last output (or is zero with
            `zero_output_for_mask=True`).
        training: Bool. Whether dropout is applied.

    Returns:
        `(batch, units)`, or `(batch, time, units)` with `return_sequences=True`; with `return_state=True`
        followed by the states after the last step.

    Raises:
        ValueError: On the arguments that `keras.layers.RNN` refuses.
    """

    # The cell class that a drop-in layer puts in the place of its Keras namesake's cell; None keeps the cell given.
    cell_class: type | None = None

    def __init__(self, cell, **kwargs):
        if self.cell_class is not None:
            cell = _rebuild(cell, self.cell_class)
        super().__init__(cell, **kwargs)

    def build(self, sequences_shape, initial_state_shape=None):
        if getattr(self, "use_cudnn", False) is True:
            raise ValueError(f"{self.name} does not run on cuDNN: got use_cudnn=True, wanted 'auto' or False.")
        super().build(sequences_shape, initial_state_shape)
        # keras.layers.LSTM and GRU switch XLA off where they see a GPU, for the cuDNN kernels that are not used here.
        self.supports_jit = True

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if not isinstance(self.cell, GatedCell) or self.unroll or not self.cell.is_three_part(training):
            # Not super(): in a drop-in that would be the namesake's loop, which may pick cuDNN.
            return keras.layers.RNN.inner_loop(self, sequences, initial_state, mask=mask, training=training)
        if isinstance(mask, (list, tuple)):
            mask = mask[0]
        inputs = self.cell.drop_inputs(sequences, training)
        states = [ops.cast(state, self.cell.gate_dtype) for state in initial_state]
        if inputs.shape[1] == 1 and mask is None:
            return self._single_step(inputs, states)
        inputs = ops.transpose(inputs, (1, 0, 2))  # (time, batch, features)
        mask = None if mask is None else ops.expand_dims(ops.transpose(ops.cast(mask, "bool")), -1)
        if self.go_backwards:
            inputs = ops.flip(inputs, 0)
            mask = None if mask is None else ops.flip(mask, 0)
        kernel, bias = self._recurrent_weights()
        outputs, states = recurrence.scan(self.cell.gates, self.cell.project(inputs), states, kernel, bias, mask)
        if mask is not None:
            outputs = self._masked_outputs(outputs, mask)
        return outputs[-1], ops.transpose(outputs, (1, 0, 2)), states

    def _single_step(self, inputs, states):
        projected = self.cell.project(inputs[:, 0])
        states = recurrence.step(self.cell.gates, projected, states, *self._recurrent_weights())
        return states[0], ops.expand_dims(states[0], 1), states

    def _recurrent_weights(self):
        cell = self.cell
        return ops.cast(cell.recurrent_kernel, cell.compute_dtype), cell.recurrent_bias()

    def _masked_outputs(self, outputs, mask):
        # The engine repeats h at a masked step. Keras agrees, but counts the steps before the first unmasked one as
        # zero, whatever the initial state.
        if self.zero_output_for_mask:
            seen = mask
        else:
            seen = ops.cumsum(ops.cast(mask, "int32"), axis=0) > 0
        return ops.where(seen, outputs, ops.zeros_like(outputs))


def _rebuild(cell, cell_class):
    """The same cell, not yet built, as `cell_class`: arguments by name, objects such as initialisers shared."""
    if type(cell) is cell_class:
        return cell
    names = [n for n, p in inspect.signature(type(cell).__init__).parameters.items() if p.kind is not p.VAR_KEYWORD]
    arguments = {name: getattr(cell, name) for name in names if name != "self"}
    if hasattr(cell, "implementation"):
        arguments["implementation"] = cell.implementation
    return cell_class(**arguments, name=cell.name, dtype=cell.dtype_policy, trainable=cell.trainable)
