"""From a step function to tokens: writing on by drawing, and beam search for the best whole sentence.

Both run the same kind of step, one token per row at a time:

    step(tokens (rows,) int32, states) -> (logits (rows, vocabulary) float32, states)
"""

from rnnapps.decoding.search import END, UNSEEN, Found, Search, beam_search
from rnnapps.decoding.writing import (
    Carry,
    Settings,
    States,
    Step,
    follow,
    generate,
    model_step,
    start,
    zero_states,
)

__all__ = [
    "END",
    "UNSEEN",
    "Carry",
    "Found",
    "Search",
    "Settings",
    "States",
    "Step",
    "beam_search",
    "follow",
    "generate",
    "model_step",
    "start",
    "zero_states",
]
