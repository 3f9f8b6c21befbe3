"""Cells inside a loop that computes a part of their input step by step."""

from keras import ops

from rnnapps.cells.cell import GatedCell, is_gated
from rnnapps.ops import projection
from rnnapps.ops.gates import differentiable


class FedCell:
    """A cell whose input is `[x_t; fed_t]`: x is known for all steps, `fed_t` only at its step.

    In three-part form, the loop is left with the least:

        P_t = (x_t W_x + b) + fed_t W_fed        the first part of all steps in one product, before the loop
        R_t = h_{t-1} U + u
        s_t = gates(P_t, R_t, s_{t-1})

    Any other cell is called as it is.

    Args:
        cell: The cell, built.
        name: Of its products, which are `<name>_fed` and `<name>_recurrent_0`, ...
        fed: Features of `fed_t`: all of the cell's, or the last of them; 0 if there is none.
        mask: Of h, as `recurrent_mask` draws it, or None.
        training: Bool.
    """

    def __init__(self, cell, name, fed, mask=None, training=False):
        self.cell, self.name, self.fed, self.mask, self.training = cell, name, fed, mask, training
        self.is_three_part = is_three_part(cell, training)
        self._kernels, self._constants, self._has_recurrent_bias = {}, [], False
        if self.is_three_part:
            self._prepare()

    def _prepare(self):
        cell = self.cell
        recurrent, bias = cell.recurrent_weights(self.training)
        self._groups = 1 if self.mask is None else self.mask.shape[-1] // recurrent.shape[0]
        parts = [recurrent] if self._groups == 1 else ops.split(recurrent, self._groups, axis=-1)
        self._kernels = {f"{self.name}_recurrent_{i}": part for i, part in enumerate(parts)}
        self._known = cell.kernel.shape[0] - self.fed  # features of x
        kernel = ops.cast(cell.kernel, cell.compute_dtype)
        self._known_kernel = kernel[: self._known] if self.fed else kernel
        if self.fed:
            self._kernels[f"{self.name}_fed"] = kernel[self._known :]
        input_bias = None if self._known else cell.input_bias()
        self._biases = [input_bias is not None, bias is not None]
        self._constants = [one for one in (input_bias, bias) if one is not None] + cell.gate_weights()

    @property
    def kernels(self):
        """The matrices of the products in the loop, by name."""
        return self._kernels

    @property
    def constants(self):
        """What else the cell reads in the loop."""
        return self._constants

    def before(self, inputs):
        """What is computed of x, for any leading axes."""
        if not self.is_three_part:
            return inputs
        return projection.project(inputs, self._known_kernel, self.cell.input_bias(), self.cell.gate_dtype)

    def step(self, product, row, fed, states, constants):
        """The output and the list of new states.

        Args:
            product: As in `ops.step_loop`.
            row: What `before` gave, of this step; None where all of the input is fed.
            fed: `(batch, fed)`, or None.
            states: List of the states.
            constants: As `constants` gives them.
        """
        if not self.is_three_part:
            return self._call(row, fed, states)
        constants = list(constants)
        bias, recurrent_bias = (constants.pop(0) if there else None for there in self._biases)
        projected = row if fed is None else _sum(product(f"{self.name}_fed", fed), row)
        hidden = [states[0]]
        if self.mask is not None:
            hidden = [states[0] * mask for mask in ops.split(self.mask, self._groups, axis=-1)]
        parts = [product(f"{self.name}_recurrent_{i}", h) for i, h in enumerate(hidden)]
        recurrent = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)
        gates, weights = self.cell.loop_gates(), constants
        new = differentiable(gates, _sum(projected, bias), _sum(recurrent, recurrent_bias), states, weights)
        return new[0], new

    def _call(self, row, fed, states):
        given = [ops.cast(part, self.cell.compute_dtype) for part in (row, fed) if part is not None]
        inputs = given[0] if len(given) == 1 else ops.concatenate(given, axis=-1)
        narrow = [ops.cast(state, self.cell.compute_dtype) for state in states]
        output, new = self.cell(inputs, narrow, training=self.training)
        new = new if isinstance(new, (list, tuple)) else [new]
        return ops.cast(output, states[0].dtype), [ops.cast(state, states[0].dtype) for state in new]


class FedCells:
    """Cells on top of each other; the first is fed beside its input, the others read nothing but what they are fed.

    Args:
        cells: The cells, built.
        fed: Features of what the first one is fed; 0 if there is nothing.
        masks: Of each cell's h, or None.
        training: Bool.
        residual: Bool. Whether each cell but the first adds its input to its output.
    """

    def __init__(self, cells, fed, masks=None, training=False, residual=False):
        sizes = [fed, *(output_size(cell) for cell in cells[:-1])]
        described = zip(cells, sizes, masks or [None] * len(cells), strict=True)
        self._cells = [
            FedCell(cell, f"cell_{i}", size, mask, training) for i, (cell, size, mask) in enumerate(described)
        ]
        self._residual = residual
        self.kernels = {name: kernel for cell in self._cells for name, kernel in cell.kernels.items()}
        self.constants = [constant for cell in self._cells for constant in cell.constants]

    def before(self, inputs):
        """What is computed of the first cell's input, for any leading axes."""
        return self._cells[0].before(inputs)

    def step(self, product, row, fed, states, constants):
        """The output and the list of new states; the arguments are those of `FedCell.step`."""
        constants, below, new = iter(constants), None, []
        by_cell = states_by_cell([one.cell for one in self._cells], states)
        for one, of_cell in zip(self._cells, by_cell, strict=True):
            h, after = one.step(product, row, fed, of_cell, [next(constants) for _ in one.constants])
            below = h + below if self._residual and below is not None else h
            row, fed = None, below
            new += after
        return below, new


def is_three_part(cell, training):
    """Whether a cell has the three-part form, and its output is h."""
    return (
        is_gated(cell, training)
        and cell.recurrent_kernel is not None
        and len(cell.recurrent_kernel.shape) == 2
        and type(cell).outputs is GatedCell.outputs
        and type(cell).project is GatedCell.project
    )


def recurrent_mask(cell, state, training):
    """What h is multiplied by before the recurrent projection, the same at all steps; None for nothing."""
    # A Keras cell keeps its masks until it is told to forget them.
    for name in ("reset_dropout_mask", "reset_recurrent_dropout_mask"):
        getattr(cell, name, lambda: None)()
    if is_three_part(cell, training):
        return cell.recurrent_mask(state, training)
    if training and getattr(cell, "leaves_dropout", False) and getattr(cell, "recurrent_dropout", 0):
        raise ValueError(f"recurrent_dropout of {cell.name} wants a cell in three-part form")
    return None


def output_size(cell):
    """Size of what a cell gives out."""
    size = getattr(cell, "output_size", None)
    return state_sizes(cell)[0] if size is None else size


def state_sizes(cell):
    """Sizes of a cell's states, as a list."""
    return list(cell.state_size) if isinstance(cell.state_size, (list, tuple)) else [cell.state_size]


def states_by_cell(cells, states):
    """The states of cells on top of each other, a list for each."""
    states = iter(states)
    return [[next(states) for _ in state_sizes(cell)] for cell in cells]


def _sum(one, other):
    return one if other is None else one + other
