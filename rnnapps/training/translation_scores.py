"""How good translations are: BLEU and chrF, by sacrebleu, and the part that is exactly right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Words of the source: the upper ends of the rows of the table by length.
_LENGTHS = (5, 10, 15, 20, 30, 50)


def scores(found: Sequence[str], wanted: Sequence[str], lowercase: bool = False) -> dict[str, Any]:
    """Scores of translations beside one reference each.

    Args:
        found: Translations, detokenised.
        wanted: References.
        lowercase: Whether capital letters count for nothing.

    Returns:
        `bleu` and `chrf`, 0 to 100, each with its `..._signature`, which says how it was measured; and `exact`, the
        part of the translations that are the reference, character for character but for spaces around.

    References: Post, 2018, https://arxiv.org/abs/1804.08771; Popović, 2015, https://aclanthology.org/W15-3049
    """
    from sacrebleu.metrics import BLEU, CHRF  # only now: it is not quick to import

    bleu, chrf = BLEU(lowercase=lowercase), CHRF(lowercase=lowercase)
    result: dict[str, Any] = {}
    for name, metric in (("bleu", bleu), ("chrf", chrf)):
        result[name] = metric.corpus_score(list(found), [list(wanted)]).score
        result[f"{name}_signature"] = str(metric.get_signature())
    fold = str.lower if lowercase else str
    same = [fold(one).strip() == fold(other).strip() for one, other in zip(found, wanted, strict=True)]
    result["exact"] = float(np.mean(same))
    return result


def by_length(
    sources: Sequence[str], found: Sequence[str], wanted: Sequence[str], lowercase: bool = False
) -> dict[str, dict[str, Any]]:
    """`scores`, and the number of `pairs`, of sources of so many words: "1-5", "6-10" ..., where there are any."""
    words = np.array([len(sentence.split()) for sentence in sources])
    table, low = {}, 0
    for high in (*_LENGTHS, None):
        chosen = np.flatnonzero((words >= low) & (words <= (high or words.max(initial=0)))).tolist()
        if len(chosen):
            some = scores([found[i] for i in chosen], [wanted[i] for i in chosen], lowercase)
            name = f"{low}-{high}" if high else f"{low} or more"
            table[name] = {"pairs": len(chosen), **{key: some[key] for key in ("bleu", "chrf", "exact")}}
        low = (high or 0) + 1
    return table
