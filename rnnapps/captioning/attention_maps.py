"""A picture of attention: where each word of a caption looked, a panel a word."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from rnnapps.files import write_whole

_COLUMNS = 6


def plot(path: Path, picture: bytes, answer: dict[str, np.ndarray]) -> None:
    """Draws the picture, and beside it once for each token of its first caption with the weights of its places on it.

    Args:
        path: Of what is drawn; its suffix says the format.
        picture: The file that was described, as TensorFlow reads it.
        answer: As `rnnapps.serving.caption_model.CaptionModel` gives it, with its attention.
    """
    pieces = [piece.decode("utf-8").strip() for piece in answer["pieces"] if piece]
    weights = answer["attention"][: len(pieces)]
    with Image.open(io.BytesIO(picture)) as file:
        size = 32 * max(1, 256 // 32)
        shown = np.asarray(file.convert("RGB").resize((size, size)))
    rows = -(-(len(pieces) + 1) // _COLUMNS)
    figure = Figure(figsize=(2 * min(_COLUMNS, len(pieces) + 1), 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, min(_COLUMNS, len(pieces) + 1), squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    panels[0].imshow(shown)
    panels[0].set_title("picture", fontsize=10)
    for panel, piece, weight in zip(panels[1:], pieces, weights, strict=False):
        panel.imshow(shown)
        smooth = Image.fromarray(np.float32(weight)).resize((size, size), Image.Resampling.BICUBIC)
        panel.imshow(np.clip(np.asarray(smooth), 0, None), cmap="jet", alpha=0.55, vmin=0)
        panel.set_title(piece, fontsize=10)
    write_whole(path, lambda file: figure.savefig(file, dpi=110))
