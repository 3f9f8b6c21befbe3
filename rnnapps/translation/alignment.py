"""A picture of attention: which tokens of the source each token of the translation looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rnnapps.files import write_whole


def plot(path: Path, answer: dict[str, np.ndarray]) -> None:
    """Draws the alignment of a sentence's first translation, a row for each token that was written.

    Args:
        path: Of the picture; its suffix says the format.
        answer: As `rnnapps.serving.translation_model.TranslationModel` gives it, with its alignment.
    """
    pieces = [_shown(piece) for piece in answer["pieces"] if piece] + ["(end)"]
    source = [_shown(piece) for piece in answer["source_pieces"] if piece] + ["(end)"]
    weights = answer["alignment"][: len(pieces), : len(source)]
    size = 0.32 * len(source) + 2, 0.32 * len(weights) + 1.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(source)), source, rotation=90)
    axes.set_yticks(range(len(weights)), pieces[: len(weights)])
    axes.xaxis.tick_top()
    figure.colorbar(image, label="attention", shrink=0.8)
    write_whole(path, lambda file: figure.savefig(file, dpi=120))


def _shown(piece: bytes) -> str:
    # The space before a word says that no other piece of the word precedes; a mark in its place can be seen.
    return piece.decode("utf-8").replace(" ", "\N{MIDDLE DOT}")
