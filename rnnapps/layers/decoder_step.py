"""A decoder's cells and its look at the memory, as the loops over time run them."""

from keras import ops

from rnnapps.ops import step_loop


class DecoderStep:
    """One step of cells that look at a memory, in the form that `rnnapps.ops.step_loop` takes.

    Args:
        cells: `FedCells`.
        look: From the number of rows that share a memory, which are next to each other, to a `Look`.
        num_cell_states: How many of the states are those of the cells, which come first.
        feeds: Bool. Whether the cells read what was looked at at the step before; a state.
        coverage: Bool. Whether the look knows what was looked at at all steps before; the last state.
        sentinel: Bool. Whether the look reads the last state of the cells.
    """

    def __init__(self, cells, look, num_cell_states, feeds, coverage, sentinel):
        self._cells, self._look_for, self._count = cells, look, num_cell_states
        self._feeds, self._coverage, self._sentinel = feeds, coverage, sentinel

    def whole(self, beams=1):
        """The step, its kernels and its constants, for `beams` rows that share a memory."""
        cells, look = self._cells, self._look_for(beams)
        own = len(cells.constants)

        def step(product, rows, states, constants):
            fed = states[self._count] if self._feeds else None
            seen = states[-1] if self._coverage else None
            h, new = cells.step(product, rows[0], fed, states[: self._count], constants[:own])
            output, chosen = look.step(product, h, new[-1], seen, constants[own:])
            fed_back = [output] if self._feeds else []
            return [output, chosen], [*new, *fed_back, *([seen + chosen] if self._coverage else [])]

        return step, {**cells.kernels, **look.kernels}, [*cells.constants, *look.constants]

    def over(self, run, rows, start):
        """All steps: what was looked at and the weights, `(batch, time, ...)`, and the last states.

        Args:
            run: `step_loop.scan` or its slow twin.
            rows: `(time, batch, ...)`, as `FedCells.before` gives them.
            start: List of the first states.
        """
        if self._feeds or self._coverage:
            step, kernels, constants = self.whole()
            found, last = run(step, [rows], start, kernels, constants)
            return *(ops.swapaxes(one, 0, 1) for one in found), last

        # The cells read nothing of what was looked at: one look for all steps, after the last.
        def cells_step(product, rows, states, constants):
            h, new = self._cells.step(product, rows[0], None, states, constants)
            return [h, new[-1]] if self._sentinel else [h], new

        of_cells, last = run(cells_step, [rows], start, self._cells.kernels, self._cells.constants)
        time = ops.shape(rows)[0]
        look = self._look_for(time)
        flat = [ops.reshape(ops.swapaxes(one, 0, 1), (-1, one.shape[-1])) for one in of_cells]
        found = look.step(step_loop.multiply(look.kernels), flat[0], flat[-1], None, look.constants)
        return *(ops.reshape(one, (-1, time, one.shape[-1] or ops.shape(one)[-1])) for one in found), last
