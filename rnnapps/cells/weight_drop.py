import keras

from rnnapps.cells.cell import GatedCell, register
from rnnapps.cells.overriding import overridden_call
from rnnapps.cells.wrapper import WrapperCell


@register
class WeightDropCell(WrapperCell):
    """Another cell, whose recurrent kernel loses some of its weights while it is trained (DropConnect).

        h_{t-1} U   becomes   h_{t-1} (U * M) / (1 - rate)

    M is 1 with probability 1 - rate and 0 otherwise. It is drawn once for a call of the layer, and is the same for all
    its steps and rows.

    Only the engine can do so: a step alone does not know of a sequence. `call` with `training=True`, and so Keras' loop
    while training, raises.

    Args:
        cell: The inner cell, as in `WrapperCell`, in three-part form and with a recurrent kernel.
        rate: Float in [0, 1): share of the recurrent weights that is dropped.
        seed: Int. Of the masks.
        **kwargs: As in `WrapperCell`.

    Call arguments:
        inputs: `(batch, features)`.
        states: As those of the inner cell.
        training: Bool. Must be False, unless `rate` is 0.

    Returns:
        The output and the new states, as those of the inner cell.

    Raises:
        ValueError: The inner cell is not in three-part form, or has no recurrent kernel; `rate` is out of range; a step
            alone is to be a training step.

    Weights: those of the inner cell.

    Reference: Merity et al., 2017, https://arxiv.org/abs/1708.02182; Wan et al., 2013,
    https://proceedings.mlr.press/v28/wan13.html
    """

    def __init__(self, cell, rate=0.5, seed=None, **kwargs):
        super().__init__(cell, **kwargs)
        if not self.is_three_part(training=True):
            changed, is_gated_class = overridden_call(cell), isinstance(cell, GatedCell)
            raise ValueError(
                f"cell of {type(self).__name__} must be a GatedCell in three-part form, not {type(cell).__name__}"
                + (f", which has {changed} of its own" if changed else " with these options" if is_gated_class else "")
            )
        if not 0 <= rate < 1:
            raise ValueError(f"rate of {type(self).__name__} must be at least 0 and below 1, not {rate!r}")
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        super().build(input_shape)
        if self.recurrent_kernel is None:
            raise ValueError(
                f"cell of {type(self).__name__} must have a recurrent kernel, and {type(self.cell).__name__} has none"
            )

    def recurrent_weights(self, training=False):
        kernel, bias = super().recurrent_weights(training)
        if training and self.rate > 0:
            kernel = keras.random.dropout(kernel, self.rate, seed=self.seed_generator)
        return kernel, bias

    def step(self, inputs, states, training, change=None):
        if training and self.rate > 0:
            raise ValueError(
                f"rate of {self.name} wants the engine of rnnapps.layers.Unroll while training, where one mask serves "
                f"a whole sequence: got rate={self.rate!r} for a step alone, wanted training=False or rate=0"
            )
        return super().step(inputs, states, training, change)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
