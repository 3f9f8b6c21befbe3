import keras
import numpy as np
from keras import ops

from rnnapps.cells.cell import register
from rnnapps.cells.wrapper import WrapperCell
from rnnapps.ops.gates import ZoneoutGates


@register
class ZoneoutCell(WrapperCell):
    """Another cell, whose units keep their previous values now and then while it is trained.

        s_t = d_t * s_{t-1} + (1 - d_t) * s'_t          s'_t: the new states of the inner cell

    While training d_t is 1 with probability z and 0 otherwise, drawn for each step, row and unit of each state. In
    inference it is its expectation, z.

    The output follows from the states after zoneout: of a cell whose output is h it is h_t, of a `LinearCell` it is
    its `output` of the state. Where another library's cell puts out what is none of its states, nobody knows how it
    follows, and the output stays that of s'_t.

    Args:
        cell: The inner cell, as in `WrapperCell`.
        rate: Float in [0, 1), z; or a list of one for each state, such as [z_h, z_c] of an LSTM. States that make
            sense only together, as c, n and m of `SLSTMCell` and `MLSTMCell`, or that pass an input on, as those of
            `QRNNCell` after the first, want 0.
        seed: Int. Of the masks.
        **kwargs: As in `WrapperCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: As those of the inner cell.
        training: Bool. Whether masks are drawn: on Keras' loop a step at a time, by the engine for all steps at once.

    Returns:
        The output and the new states, as those of the inner cell.

    Raises:
        ValueError: A rate is out of range, or there are not as many as states.

    Weights: those of the inner cell.

    Reference: Krueger et al., 2016, https://arxiv.org/abs/1606.01305
    """

    def __init__(self, cell, rate=0.1, seed=None, **kwargs):
        super().__init__(cell, **kwargs)
        sizes = self.state_size if isinstance(self.state_size, (list, tuple)) else [self.state_size]
        rates = list(rate) if isinstance(rate, (list, tuple)) else [rate] * len(sizes)
        if len(rates) != len(sizes):
            raise ValueError(f"rate of {type(self).__name__} must be one for each of {len(sizes)} states, not {rate!r}")
        if not all(0 <= z < 1 for z in rates):
            raise ValueError(f"rate of {type(self).__name__} must be at least 0 and below 1, not {rate!r}")
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # How many columns of d belong to each state, and z of each column.
        self._columns = [size if z > 0 else 0 for size, z in zip(sizes, rates, strict=True)]
        self._rate_of_column = np.repeat(rates, self._columns)

    def _kept(self, shape, training):
        """d of the states that have a rate, side by side, `(*shape, columns)`."""
        shape = (*shape, sum(self._columns))
        if not training:
            return ops.broadcast_to(ops.cast(self._rate_of_column, self.gate_dtype), shape)
        drawn = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return ops.cast(drawn < ops.cast(self._rate_of_column, "float32"), self.gate_dtype)

    def loop_inputs(self, inputs, training):
        # Not in the loop: the backward pass computes the gates again, and must meet the same masks.
        sequences = super().loop_inputs(inputs, training)
        if not any(self._columns):
            return sequences
        inside = self.get_initial_state(1)[0].shape[1:-1]
        return [*sequences, self._kept((*ops.shape(inputs)[:2], *inside), training)]

    def project(self, *inputs):
        if not any(self._columns):
            return super().project(*inputs)
        return ops.concatenate([super().project(*inputs[:-1]), inputs[-1]], axis=-1)

    def outputs(self, h, inputs):
        return super().outputs(h, inputs[:-1] if any(self._columns) else inputs)

    def loop_gates(self):
        gates = super().loop_gates()
        return ZoneoutGates(gates, self._columns) if any(self._columns) else gates

    def step(self, inputs, states, training, change=None):
        if not any(self._columns):
            return super().step(inputs, states, training, change)
        kept = self._kept(ops.shape(states[0])[:-1], training)
        parts = [kept[..., end - size : end] for size, end in zip(self._columns, np.cumsum(self._columns), strict=True)]

        def zoneout(before, new):
            zoned = [
                ops.cast(d * ops.cast(old, d.dtype) + (1 - d) * ops.cast(s, d.dtype), s.dtype) if columns else s
                for d, old, s, columns in zip(parts, before, new, self._columns, strict=True)
            ]
            return zoned if change is None else change(before, zoned)

        return super().step(inputs, states, training, zoneout)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
