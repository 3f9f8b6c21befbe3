"""How good captions are, beside all references of each picture: BLEU, ROUGE-L, CIDEr-D, METEOR and chrF, without Java.

The figures are those of the evaluation of COCO captions, but for METEOR, which here knows equal words alone, and for
the words themselves, which `words` splits.
"""

from __future__ import annotations

import html
import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from heapq import nsmallest
from operator import itemgetter
from typing import Any

import numpy as np

Tokens = list[str]
Gram = tuple[str, ...]

_ORDERS = (1, 2, 3, 4)  # words of an n-gram, of BLEU and of CIDEr-D
_BETA = 1.2  # of ROUGE-L: how much more recall weighs than precision
_SIGMA = 6.0  # of CIDEr-D: words by which a caption may be longer or shorter
_MOST_ALIGNMENTS = 2000  # beginnings of alignments that are kept at each word

_ENDINGS = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))(?!\w)")
_TWO_WORDS = re.compile(r"\b(can)(not)\b|\b(gim|lem)(me)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b")
_WORD = re.compile(
    r"""(?:[^\W\d_]\.){2,}                      # u.s.
    |   [^\W_]+(?:(?:['-]|(?<=\d)[.,:/](?=\d))[^\W_]+)*    # dog, t-shirt, o'clock, 3,000, 10:30
    |   '(?:s|m|d|re|ve|ll)(?!\w)               # 's, split off by `_ENDINGS` or by whoever wrote the caption
    |   [$%&\#@+=]                              # signs that are spoken
    """,
    re.VERBOSE,
)


def words(caption: str) -> Tokens:
    """Words of a caption in lower case, in the manner of the Penn Treebank, without punctuation.

    "Don't!" gives "do" and "n't", "dog's" gives "dog" and "'s", "cannot" gives "can" and "not". A word with hyphens or
    with an apostrophe inside (t-shirt, o'clock), a number (3,000 or 10:30) and an abbreviation of letters (u.s.) stay
    one word. The signs $ % & # @ + = are words of their own, and "&amp;" is "&". All else is punctuation and goes, also
    brackets, slashes between words and the full stop of other abbreviations (mr.).
    """
    text = unicodedata.normalize("NFC", html.unescape(caption).lower()).replace("\u2019", "'")
    text = _TWO_WORDS.sub(lambda found: " ".join(filter(None, found.groups())), text)
    return _WORD.findall(_ENDINGS.sub(r" \1", text))


def scores(found: Sequence[str], wanted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Scores of captions, one to a picture, beside all references of the picture.

    Args:
        found: Captions.
        wanted: References of each picture: at least one, and not everywhere as many.

    Returns:
        `bleu_1` to `bleu_4`, 0 to 100: of all pictures together, cumulative and not smoothed, with the reference of the
        closest length, of two as close the shorter, for the brevity penalty; `rouge_l`, 0 to 100; `cider_d`, 0 to 10;
        `meteor_exact`, 0 to 100: METEOR that matches equal words alone, below METEOR with stems, synonyms and
        paraphrases and not to be compared with it; `chrf`, 0 to 100, of the words with one space between, and its
        `chrf_signature`; `exact`, the part of the captions that have the words of a reference; and `distinct`, the
        number of different captions, by their words, over the number of captions.

    Raises:
        ValueError: There are no pictures, not as many captions as pictures with references, or a picture has none.

    References: Papineni et al., 2002, https://aclanthology.org/P02-1040; Lin, 2004, https://aclanthology.org/W04-1013;
        Vedantam et al., 2015, https://arxiv.org/abs/1411.5726; Banerjee and Lavie, 2005,
        https://aclanthology.org/W05-0909; Popović, 2015, https://aclanthology.org/W15-3049; Chen et al., 2015,
        https://arxiv.org/abs/1504.00325
    """
    if len(found) != len(wanted):
        raise ValueError(f"{len(found)} captions, but references of {len(wanted)} pictures")
    if not found:
        raise ValueError("no captions to score")
    for index, references in enumerate(wanted):
        if not references:
            raise ValueError(f"picture {index} has no references")
    said = [words(caption) for caption in found]
    heard = [[words(caption) for caption in references] for references in wanted]
    pairs = list(zip(said, heard, strict=True))
    return {
        **_of_sacrebleu(said, heard),
        "rouge_l": 100 * float(np.mean([_rouge_l(*pair) for pair in pairs])),
        "cider_d": _cider_d(said, heard),
        "meteor_exact": 100 * float(np.mean([max(_meteor(one, other) for other in many) for one, many in pairs])),
        "exact": float(np.mean([one in many for one, many in pairs])),
        "distinct": len({tuple(caption) for caption in said}) / len(said),
    }


def _of_sacrebleu(said: list[Tokens], heard: list[list[Tokens]]) -> dict[str, Any]:
    """BLEU of each order and chrF."""
    from sacrebleu.metrics import BLEU, CHRF  # only now: it is not quick to import

    captions = [" ".join(one) for one in said]
    # A picture with fewer references than another has `None` in the last lists.
    lists = list(itertools.zip_longest(*([" ".join(one) for one in many] for many in heard)))
    bleu = BLEU(tokenize="none", force=True, max_ngram_order=max(_ORDERS))
    all_orders = bleu.corpus_score(captions, lists)
    result: dict[str, Any] = {}
    for order in _ORDERS:
        result[f"bleu_{order}"] = BLEU.compute_bleu(
            all_orders.counts[:order],
            all_orders.totals[:order],
            all_orders.sys_len,
            all_orders.ref_len,
            smooth_method="none",
            max_ngram_order=order,
        ).score
    chrf = CHRF(lowercase=True)
    result["chrf"] = chrf.corpus_score(captions, lists).score
    result["chrf_signature"] = str(chrf.get_signature())
    return result


def _rouge_l(caption: Tokens, references: list[Tokens]) -> float:
    """F of the longest common subsequence, of the highest precision P and the highest recall R over the references.

        F = (1 + beta^2) P R / (R + beta^2 P)

    As in the evaluation of COCO captions, P and R may be of different references.
    """
    common = [_longest_common(caption, reference) for reference in references]
    precision = max(common) / max(len(caption), 1)
    recall = max(count / max(len(reference), 1) for count, reference in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _longest_common(one: Tokens, other: Tokens) -> int:
    """Length of the longest common subsequence."""
    before = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for i, same in enumerate(other):
            row.append(before[i] + 1 if word == same else max(before[i + 1], row[i]))
        before = row
    return before[-1]


def _grams(caption: Tokens, order: int) -> Counter[Gram]:
    """How often each n-gram of so many words is in a caption."""
    return Counter(zip(*(caption[start:] for start in range(order)), strict=False))


def _cider_d(said: list[Tokens], heard: list[list[Tokens]]) -> float:
    """CIDEr-D: the mean over pictures, over n = 1 to 4 and over the references r of a picture of

        10 exp(-(|c| - |r|)^2 / (2 sigma^2)) min(g(c), g(r)) · g(r) / (||g(c)|| ||g(r)||)

    where `g` are counts of n-grams, each times log(pictures / pictures with the n-gram in a reference). Clipped are
    counts, not, as in the paper, shares of a caption: so does the evaluation of COCO captions. An n-gram that every
    picture has weighs nothing, so that of a single picture the score is 0.
    """
    total = 0.0
    for order in _ORDERS:
        counts = [[_grams(reference, order) for reference in references] for references in heard]
        pictures_with = Counter(gram for references in counts for gram in set().union(*references))
        for caption, references, grams in zip(said, heard, counts, strict=True):
            vector = _weighted(_grams(caption, order), pictures_with, len(heard))
            total += sum(
                math.exp(-((len(caption) - len(reference)) ** 2) / (2 * _SIGMA**2))
                * _clipped_cosine(vector, _weighted(some, pictures_with, len(heard)))
                for reference, some in zip(references, grams, strict=True)
            ) / len(references)
    return 10 * total / len(_ORDERS) / len(heard)


def _weighted(counts: Counter[Gram], pictures_with: Counter[Gram], pictures: int) -> dict[Gram, float]:
    """Counts of n-grams, each times its inverse document frequency; one of no reference counts as one of a single."""
    return {gram: count * math.log(pictures / max(pictures_with[gram], 1)) for gram, count in counts.items()}


def _clipped_cosine(vector: dict[Gram, float], reference: dict[Gram, float]) -> float:
    """Cosine, where no n-gram of the first vector counts for more than it does in the second; 0 of an empty one."""
    product = sum(min(weight, reference.get(gram, 0.0)) * reference.get(gram, 0.0) for gram, weight in vector.items())
    # The product is 0 where a length is.
    return product / (math.hypot(*vector.values()) * math.hypot(*reference.values())) if product else 0.0


def _meteor(caption: Tokens, reference: Tokens) -> float:
    """METEOR of equal words.

        10 P R / (R + 9 P) (1 - 0.5 (chunks / matches)^3)

    A word is matched once at most, and as many are as can be. Chunks are the fewest runs into which the matches fall
    that are words side by side, in the same order, in both.
    """
    matches = (Counter(caption) & Counter(reference)).total()
    if not matches:
        return 0.0
    precision, recall = matches / len(caption), matches / len(reference)
    mean = 10 * precision * recall / (recall + 9 * precision)
    return mean * (1 - 0.5 * (_fewest_chunks(caption, reference) / matches) ** 3)


def _fewest_chunks(caption: Tokens, reference: Tokens) -> int:
    """The fewest chunks of an alignment with as many matches as there can be.

    A dynamic programme over the words of the caption. Beginnings of alignments that end at the same word of the
    reference and have used the same of its words are one, with the fewest chunks. It is exact while no more than
    `_MOST_ALIGNMENTS` are left at a word, which takes many words that come often in both; of more, those with the
    fewest chunks are followed, and the result can be too high.
    """
    left = Counter(caption)
    most = left & Counter(reference)
    places = {word: [place for place, other in enumerate(reference) if other == word] for word in most}
    # Chunks by the place that the word before was matched with and by the places used, as bits.
    best: dict[tuple[int | None, int], int] = {(None, 0): 0}
    for word in caption:
        left[word] -= 1
        own = places.get(word, [])
        bits = sum(1 << place for place in own)
        ways: dict[tuple[int | None, int], int] = {}
        for (last, used), chunks in best.items():
            steps: list[tuple[int | None, int, int]] = [
                (place, used | 1 << place, chunks + (place - 1 != last)) for place in own if not used >> place & 1
            ]
            if (used & bits).bit_count() + left[word] >= most[word]:  # enough are to come, so it may go without
                steps.append((None, used, chunks))
            for place, now, count in steps:
                # Where the word does not come again, nothing hangs on which of its places are used.
                key = place, now if left[word] else now & ~bits
                ways[key] = min(ways.get(key, count), count)
        best = ways
        if len(best) > _MOST_ALIGNMENTS:
            best = dict(nsmallest(_MOST_ALIGNMENTS, ways.items(), key=itemgetter(1)))
    return min(best.values())
