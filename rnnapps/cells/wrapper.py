import inspect
import operator

import keras
from keras import ops
from keras.src.layers.rnn.dropout_rnn_cell import (
    DropoutRNNCell,  # keras.layers.RNN asks for this class, by no public name
)

from rnnapps.cells.cell import GatedCell, is_gated
from rnnapps.cells.linear import LinearCell
from rnnapps.cells.overriding import overridden_call


class WrapperCell(GatedCell, DropoutRNNCell, keras.layers.Layer):
    """Base of the cells that change what another cell does: states, weights and parts of a step are the inner cell's.

    Around a cell in three-part form a wrapper is in that form too, and `rnnapps.layers.Unroll` runs it on the engine.
    Around any other cell it runs on Keras' loop. Wrappers nest. A subclass overrides, for the engine, the methods of
    `GatedCell`, and for Keras' loop `step`. A further sequence that it needs comes last in `loop_inputs`, and is cut
    off in `project` and in `outputs`.

    Dropout stays the inner cell's. While training a Keras cell draws its masks anew for each call of the layer.

    Args:
        cell: The inner cell: of `rnnapps.cells`, of `keras.layers`, or any layer with `state_size`. Stacked cells are
            wrapped one by one.
        **kwargs: As in `keras.layers.Layer`. `dtype` is that of the inner cell.

    Raises:
        ValueError: The inner cell is none, or has another dtype.

    Weights: those of the inner cell.
    """

    kernel = property(operator.attrgetter("cell.kernel"))
    recurrent_kernel = property(operator.attrgetter("cell.recurrent_kernel"))
    bias = property(operator.attrgetter("cell.bias"))

    def __init__(self, cell, **kwargs):
        name = type(self).__name__
        if not (isinstance(cell, keras.layers.Layer) and hasattr(cell, "state_size")):
            raise ValueError(f"cell of {name} must be a layer with state_size, not {cell!r}")
        if isinstance(cell, keras.layers.StackedRNNCells):
            raise ValueError(f"cell of {name} must be one cell, not {cell!r}: wrap each cell of the stack")
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = cell.dtype_policy
        super().__init__(**kwargs)
        if (self.compute_dtype, self.variable_dtype) != (cell.compute_dtype, cell.variable_dtype):
            raise ValueError(
                f"dtype of {name} must be its cell's, {cell.dtype_policy.name!r}, not {self.dtype_policy.name!r}"
            )
        self.cell = cell
        self.leaves_dropout = getattr(cell, "leaves_dropout", False)
        self._takes_training = "training" in inspect.signature(cell.call).parameters

    @property
    def state_size(self):
        return self.cell.state_size

    @property
    def output_size(self):
        size = getattr(self.cell, "output_size", None)
        return _as_list(self.state_size)[0] if size is None else size

    @property
    def gate_dtype(self):
        return getattr(self.cell, "gate_dtype", super().gate_dtype)

    def build(self, input_shape):
        if not self.cell.built:
            self.cell.build(input_shape)
            self.cell.built = True
        self.built = True

    def get_initial_state(self, batch_size=None):
        if hasattr(self.cell, "get_initial_state"):
            return _as_list(self.cell.get_initial_state(batch_size=batch_size))
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in _as_list(self.state_size)]

    # === The parts that the engine runs ===

    def is_three_part(self, training):
        return is_gated(self.cell, training)

    def loop_inputs(self, inputs, training):
        return self.cell.loop_inputs(inputs, training)

    def project(self, *inputs):
        return self.cell.project(*inputs)

    def outputs(self, h, inputs):
        return self.cell.outputs(h, inputs)

    def loop_gates(self):
        return self.cell.loop_gates()

    def gate_weights(self):
        return self.cell.gate_weights()

    def recurrent_weights(self, training=False):
        return self.cell.recurrent_weights(training)

    def recurrent_mask(self, state, training):
        return self.cell.recurrent_mask(state, training)

    # === A step at a time ===

    def call(self, inputs, states, training=False):
        """One step. Dropout that the inner cell's `call` leaves to the layer is not applied."""
        return self.step(inputs, _as_list(states), training)

    def step(self, inputs, states, training, change=None):
        """One step of the inner cell.

        Args:
            inputs: `(batch, features)`.
            states: List of the states before it.
            training: Bool.
            change: `(states, new states) -> new states`, which is done before the output is taken from them; None for
                nothing. The innermost cell does it.

        Returns:
            The output and the list of new states.
        """
        cell = self.cell
        if isinstance(cell, WrapperCell):
            return cell.step(inputs, states, training, change)
        output, new = cell(inputs, states, **({"training": training} if self._takes_training else {}))
        new = _as_list(new)
        if change is None:
            return output, new
        changed = change(states, new)
        return _output_after(cell, inputs, states, changed, output, new), changed

    # === Dropout ===

    def drop_inputs(self, inputs, training):
        return self.cell.drop_inputs(inputs, training)

    # A Keras cell caches its masks, and the layer has them drawn before its loop and forgotten after it.

    def get_dropout_mask(self, step_input):
        return self.cell.get_dropout_mask(step_input) if isinstance(self.cell, DropoutRNNCell) else None

    def get_recurrent_dropout_mask(self, step_input):
        return self.cell.get_recurrent_dropout_mask(step_input) if isinstance(self.cell, DropoutRNNCell) else None

    def reset_dropout_mask(self):
        if isinstance(self.cell, DropoutRNNCell):
            self.cell.reset_dropout_mask()

    def reset_recurrent_dropout_mask(self):
        if isinstance(self.cell, DropoutRNNCell):
            self.cell.reset_recurrent_dropout_mask()

    # === Saving ===

    def get_config(self):
        cell = keras.saving.serialize_keras_object(self.cell)
        cell.pop("build_config", None)  # the wrapper builds it, and its config is the same before and after
        return {**super().get_config(), "cell": cell}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        cell = keras.saving.deserialize_keras_object(config["cell"], custom_objects=custom_objects)
        return cls(**{**config, "cell": cell})


def _as_list(one_or_more):
    return list(one_or_more) if isinstance(one_or_more, (list, tuple)) else [one_or_more]


def _output_after(cell, inputs, states, changed, output, new):
    """The output that belongs to the changed states; that of a cell that does not say how it follows stays as it is."""
    if overridden_call(cell):
        return changed[0] if output is new[0] else output
    if isinstance(cell, GatedCell):
        seen = [sequence[:, 0] for sequence in cell.loop_inputs(ops.expand_dims(inputs, 1), training=False)]
        return ops.cast(cell.outputs(changed[0], seen), output.dtype)
    if isinstance(cell, LinearCell):
        state, *before = [ops.cast(s, cell.gate_dtype) for s in (changed[0], *states[1:])]
        return ops.cast(cell.output(state, cell.coefficients(inputs, before)[2]), output.dtype)
    return changed[0] if output is new[0] else output
