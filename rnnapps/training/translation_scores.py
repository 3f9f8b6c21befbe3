"""How good translations are: BLEU and chrF, by sacrebleu, and the part that is exactly right."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnapps.errors import UsageError

# Words of the source: the upper ends of the rows of the table by length.
_LENGTHS = (5, 10, 15, 20, 30, 50)
# How sacrebleu cuts a text into the words that BLEU counts. What it has to download, or compile, is not among them.
TOKENIZERS = ("auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")
_HAN, _KANA = r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]", r"[\u3041-\u30ff\u31f0-\u31ff]"
_UNSPACED = r"[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]"  # Thai, Lao, Tibetan, Burmese, Khmer


def tokenizer_of(texts: Sequence[str]) -> str:
    """The tokenizer of sacrebleu for the script of texts: its default splits at spaces, which not all scripts have.

    "zh" for Chinese; for Japanese "ja-mecab" where MeCab is installed, else "char"; "char" for Thai, Lao, Tibetan,
    Burmese and Khmer; "13a" for all others.
    """
    text = "".join(texts)
    han, kana, unspaced = (len(re.findall(script, text)) for script in (_HAN, _KANA, _UNSPACED))
    if han + kana + unspaced <= sum(map(str.isalpha, text)) / 4:
        return "13a"
    if unspaced > han + kana:
        return "char"
    if kana > han / 20:
        return "ja-mecab" if importlib.util.find_spec("MeCab") else "char"
    return "zh"


def scores(
    found: Sequence[str], wanted: Sequence[str], lowercase: bool = False, tokenize: str = "auto"
) -> dict[str, Any]:
    """Scores of translations beside one reference each.

    Args:
        found: Translations, detokenised.
        wanted: References.
        lowercase: Whether capital letters count for nothing.
        tokenize: One of `TOKENIZERS`; "auto" is that of the references' script.

    Returns:
        `bleu` and `chrf`, 0 to 100, each with its `..._signature`, which says how it was measured; and `exact`, the
        part of the translations that are the reference, character for character but for spaces around.

    Raises:
        UsageError: The tokenizer is not installed.

    References: Post, 2018, https://arxiv.org/abs/1804.08771; Popović, 2015, https://aclanthology.org/W15-3049
    """
    from sacrebleu.metrics import BLEU, CHRF  # only now: it is not quick to import

    chosen = tokenizer_of(wanted) if tokenize == "auto" else tokenize
    try:
        bleu, chrf = BLEU(lowercase=lowercase, tokenize=chosen), CHRF(lowercase=lowercase)
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"--tokenize {chosen} wants more: pip install 'sacrebleu[{chosen[:2]}]'") from error
    result: dict[str, Any] = {}
    for name, metric in (("bleu", bleu), ("chrf", chrf)):
        result[name] = metric.corpus_score(list(found), [list(wanted)]).score
        result[f"{name}_signature"] = str(metric.get_signature())
    fold = str.lower if lowercase else str
    same = [fold(one).strip() == fold(other).strip() for one, other in zip(found, wanted, strict=True)]
    result["exact"] = float(np.mean(same))
    return result


def by_length(
    sources: Sequence[str],
    found: Sequence[str],
    wanted: Sequence[str],
    lowercase: bool = False,
    tokenize: str = "auto",
) -> dict[str, dict[str, Any]]:
    """`scores`, and the number of `pairs`, of sources of so many words: "1-5", "6-10" ..., where there are any.

    All by one tokenizer.
    """
    tokenize = tokenizer_of(wanted) if tokenize == "auto" else tokenize
    words = np.array([len(sentence.split()) for sentence in sources])
    table, low = {}, 0
    for high in (*_LENGTHS, None):
        chosen = np.flatnonzero((words >= low) & (words <= (high or words.max(initial=0)))).tolist()
        if len(chosen):
            some = scores([found[i] for i in chosen], [wanted[i] for i in chosen], lowercase, tokenize)
            name = f"{low}-{high}" if high else f"{low} or more"
            table[name] = {"pairs": len(chosen), **{key: some[key] for key in ("bleu", "chrf", "exact")}}
        low = (high or 0) + 1
    return table
