"""Scores of captions against their definitions, written out as slow loops, and against examples of the papers."""

import math
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from rnnapps.training import caption_scores
from rnnapps.training.caption_scores import scores, words

VOCABULARY = ["a", "the", "dog", "cat", "runs", "on", "grass", "red"]
ORDERS = 1, 2, 3, 4


def corpus(seed, pictures=12, longest=9):
    """Captions near to one of their references, some of them empty or of one word, and 1 to 4 references each."""
    rng = np.random.default_rng(seed)
    wanted = [
        [" ".join(rng.choice(VOCABULARY, rng.integers(1, longest))) for _ in range(rng.integers(1, 5))]
        for _ in range(pictures)
    ]
    found = []
    for references in wanted:
        kept = [word for word in rng.choice(references).split() if rng.random() < 0.8]
        found.append(" ".join([*kept, *rng.choice(VOCABULARY, rng.integers(0, 4))]))
    return ["", "dog", *found[2:]], wanted


def runs(sentence, order):
    """All n-grams, in their order."""
    split = sentence.split()
    return [" ".join(split[i : i + order]) for i in range(len(split) - order + 1)]


def bleu_by_hand(found, wanted, orders):
    lengths = sum(len(caption.split()) for caption in found), 0
    for caption, references in zip(found, wanted, strict=True):
        own = len(caption.split())
        _, closest = min((abs(len(other.split()) - own), len(other.split())) for other in references)
        lengths = lengths[0], lengths[1] + closest
    logarithms = []
    for order in range(1, orders + 1):
        hits = tries = 0
        for caption, references in zip(found, wanted, strict=True):
            tries += len(runs(caption, order))
            for gram in set(runs(caption, order)):
                most = max(runs(other, order).count(gram) for other in references)
                hits += min(most, runs(caption, order).count(gram))
        logarithms.append(math.log(hits / tries) if hits else -math.inf)
    penalty = min(1.0, math.exp(1 - lengths[1] / lengths[0])) if lengths[0] else 0.0
    return 100 * penalty * math.exp(np.mean(logarithms))


def rouge_by_hand(caption, references):
    @lru_cache(None)
    def common(one, other):
        if not one or not other:
            return 0
        if one[-1] == other[-1]:
            return 1 + common(one[:-1], other[:-1])
        return max(common(one[:-1], other), common(one, other[:-1]))

    own = tuple(caption.split())
    hits = [(common(own, tuple(other.split())), len(other.split())) for other in references]
    if not any(hit for hit, _ in hits):
        return 0.0
    inverse_precision, inverse_recall = min(len(own) / hit for hit, _ in hits if hit), min(n / h for h, n in hits if h)
    # The weighted harmonic mean.
    return 100 * (1 + 1.2**2) / (inverse_precision + 1.2**2 * inverse_recall)


def cider_by_hand(found, wanted, clips=True, sigma=6.0):
    total = []
    for caption, references in zip(found, wanted, strict=True):
        for reference in references:
            apart = len(caption.split()) - len(reference.split())
            for order in ORDERS:
                names = sorted({*runs(caption, order), *runs(reference, order)})
                weights = []
                for name in names:
                    with_it = sum(any(name in runs(other, order) for other in many) for many in wanted)
                    weights.append(math.log(len(wanted)) - math.log(max(1, with_it)))
                one, other = (
                    np.array([runs(text, order).count(name) for name in names]) * weights
                    for text in (caption, reference)
                )
                lengths = np.linalg.norm(one) * np.linalg.norm(other)
                cosine = (np.minimum(one, other) if clips else one) @ other / lengths if lengths else 0.0
                total.append(10 * cosine * math.exp(-(apart**2) / (2 * sigma**2)) / len(references) / len(ORDERS))
    return sum(total) / len(found)


def alignments(caption, reference, start=0, taken=()):
    """Every way to match words with equal ones, each at most once, as pairs of places."""
    if start == len(caption):
        yield ()
        return
    yield from alignments(caption, reference, start + 1, taken)
    for place, word in enumerate(reference):
        if word == caption[start] and place not in taken:
            for rest in alignments(caption, reference, start + 1, (*taken, place)):
                yield ((start, place), *rest)


def chunks(pairs):
    """A chunk begins at each match that does not go on from one just before it in both sentences."""
    return sum((one - 1, other - 1) not in pairs for one, other in pairs)


def meteor_by_hand(caption, reference):
    one, other = caption.split(), reference.split()
    every = list(alignments(one, other))
    matches = max(len(pairs) for pairs in every)
    if matches == 0:
        return 0.0
    fewest = min(chunks(pairs) for pairs in every if len(pairs) == matches)
    precision, recall = matches / len(one), matches / len(other)
    mean = 1 / (0.9 / recall + 0.1 / precision)
    return 100 * mean * (1 - 0.5 * (fewest / matches) ** 3)


def chrf_by_hand(found, wanted):
    def counted(text, order):
        letters = text.replace(" ", "")
        return Counter(letters[i : i + order] for i in range(len(letters) - order + 1))

    def figure(table):
        rows = [(hits / own, hits / theirs) for own, theirs, hits in table if own and theirs]
        precision, recall = np.mean(rows, 0) if rows else (0, 0)
        return 100 * 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0

    sums = np.zeros((6, 3), int)
    for caption, references in zip(found, wanted, strict=True):
        tables = []
        for reference in references:
            pairs = [(counted(caption, order), counted(reference, order)) for order in range(1, 7)]
            # What is too short to have n-grams of an order leaves the order out.
            tables.append([(a.total() if b else 0, b.total(), (a & b).total()) for a, b in pairs])
        sums += max(tables, key=figure)
    return figure(sums)


@pytest.mark.parametrize("seed", range(4))
def test_all_figures_by_hand(seed):
    found, wanted = corpus(seed)
    result = scores(found, wanted)
    for order in ORDERS:
        assert result[f"bleu_{order}"] == pytest.approx(bleu_by_hand(found, wanted, order), abs=1e-9)
    pairs = list(zip(found, wanted, strict=True))
    assert result["rouge_l"] == pytest.approx(np.mean([rouge_by_hand(*pair) for pair in pairs]))
    assert result["cider_d"] == pytest.approx(cider_by_hand(found, wanted))
    meteor = np.mean([max(meteor_by_hand(one, other) for other in many) for one, many in pairs])
    assert result["meteor_exact"] == pytest.approx(meteor)
    assert result["chrf"] == pytest.approx(chrf_by_hand(found, wanted))
    assert "nrefs:var|case:lc" in result["chrf_signature"]
    assert result["exact"] == np.mean([one in many for one, many in pairs])
    assert result["distinct"] == len(set(found)) / len(found)
    assert result["bleu_4"] > 0 and result["cider_d"] > 0.1 and 0 < result["distinct"] <= 1


def test_all_is_lower_case_without_punctuation():
    found, wanted = corpus(5)
    dressed = [[f"“{one.upper()}” ,!" for one in many] for many in wanted]
    assert scores([f"{caption.title()}." for caption in found], dressed) == scores(found, wanted)


@pytest.mark.parametrize(
    "caption, wanted",
    [
        ("The dog's ball, isn't it?", "the dog 's ball is n't it"),
        ("Don't! They\u2019ve gone; he'll cry: I'd say we're", "do n't they 've gone he 'll cry i 'd say we 're"),
        ("shouldn't've", "should n't 've"),
        ("A man 's dog does n't bark .", "a man 's dog does n't bark"),
        ("Two \"well-known\" (dogs') t-shirts -- 'quoted' ...", "two well-known dogs t-shirts quoted"),
        ("He cannot; she's gonna go, gotta see", "he can not she 's gon na go got ta see"),
        ("cannoli, a gimmick and the gonnas", "cannoli a gimmick and the gonnas"),
        ("At 10:30, 3,000.50 of 1/2, five o'clock", "at 10:30 3,000.50 of 1/2 five o'clock"),
        ("A U.S. flag at 8 p.m. by Mr. A. Smith", "a u.s. flag at 8 p.m. by mr a smith"),
        ("tea&amp;milk, $5, 50% off #1", "tea & milk $ 5 50 % off # 1"),
        ("black/white, snake_case, cafe\u0301 Straße", "black white snake case café straße"),
        (" ... !\n", ""),
        ("", ""),
    ],
)
def test_words(caption, wanted):
    assert words(caption) == wanted.split()
    assert words(" ".join(words(caption))) == words(caption)


def test_same_captions_are_as_good_as_can_be():
    captions = [
        "A dog runs on the wet grass.",
        "Two men in hard hats work.",
        "One red car stands near trees.",
        "Snow fell over hills.",
    ]
    result = scores(captions, [[caption] for caption in captions])
    for name, best in {**{f"bleu_{n}": 100 for n in ORDERS}, "rouge_l": 100, "cider_d": 10, "chrf": 100}.items():
        assert result[name] == pytest.approx(best)
    assert result["exact"] == result["distinct"] == 1
    # One chunk is a penalty also where all matches.
    assert result["meteor_exact"] == pytest.approx(np.mean([100 - 50 / k**3 for k in (7, 6, 6, 4)]))
    assert "nrefs:1|" in result["chrf_signature"]


@pytest.mark.parametrize("captions", [["zzz yyy xxx zzz yyy"] * 2, ["zzz"] * 2, ["", "..."]])
def test_what_shares_nothing_scores_nothing(captions):
    result = scores(captions, [["a dog runs on grass", "a dog"], ["no one is here"]])
    assert all(result[name] == 0 for name in result if name not in ("chrf_signature", "distinct"))
    assert result["distinct"] == 0.5


def test_a_reference_without_words():
    result = scores(["a dog runs on grass", "a cat"], [["a dog runs on grass", "!"], ["...", ""]])
    # Seven words against five and none.
    assert result["bleu_1"] == pytest.approx(100 * 5 / 7)
    assert result["rouge_l"] == pytest.approx(50) and result["exact"] == 0.5
    # The empty reference is one of two.
    assert result["cider_d"] == pytest.approx(10 / 2 / 2)


def test_bleu_of_papineni():
    cats = [["The cat is on the mat.", "There is a cat on the mat."]]
    result = scores(["the the the the the the the"], cats)
    assert result["bleu_1"] == pytest.approx(100 * 2 / 7) and result["bleu_2"] == 0
    references = [
        [
            "It is a guide to action that ensures that the military will forever heed Party commands.",
            "It is the guiding principle which guarantees the military forces always being under the command of the "
            "Party.",
            "It is the practical guide for the army always to heed the directions of the party.",
        ]
    ]
    good = "It is a guide to action which ensures that the military always obeys the commands of the party."
    bad = "It is to insure the troops forever hearing the activity guidebook that party direct."
    result = scores([good], references)
    assert result["bleu_1"] == pytest.approx(100 * 17 / 18)
    assert result["bleu_2"] == pytest.approx(100 * math.sqrt(17 / 18 * 10 / 17))
    result, brevity = scores([bad], references), math.exp(1 - 16 / 14)
    assert result["bleu_1"] == pytest.approx(100 * 8 / 14 * brevity)
    assert result["bleu_2"] == pytest.approx(100 * math.sqrt(8 / 14 / 13) * brevity)


def test_brevity_is_against_the_closest_length_and_of_two_the_shorter():
    four = "a dog runs fast"
    for references in (["a dog runs", f"{four} today"], [f"{four} today", "a dog runs"]):
        assert scores([four], [references])["bleu_1"] == pytest.approx(100)
    references = [f"{four} today", "a dog"]
    assert scores([four], [references])["bleu_1"] == pytest.approx(100 * math.exp(1 - 5 / 4))
    # Lengths are summed over the corpus, so that a long caption makes up for a short one.
    result = scores([four, f"{four} now"], [references, ["a dog runs fast"]])
    assert result["bleu_1"] == pytest.approx(100 * 8 / 9)


def test_bleu_does_not_split_words_further():
    result = scores(["A bus at 10:30."], [["a bus at 10:45"]])
    assert result["bleu_1"] == pytest.approx(75) and result["bleu_4"] == 0


def test_rouge_takes_precision_and_recall_of_different_references():
    result = scores(["a dog runs"], [["a dog runs on the big green grass", "a dog"]])
    assert result["rouge_l"] == pytest.approx(100)
    result = scores(["a dog runs"], [["the dog runs fast", "a cat"]])
    precision, recall = 2 / 3, 1 / 2
    assert result["rouge_l"] == pytest.approx(100 * 2.44 * precision * recall / (recall + 1.44 * precision))


def test_cider_pays_neither_for_length_nor_for_words_said_again():
    wanted = [["a red dog runs on the grass"], ["a man sits on the bench"], ["the girls eat ice in a street"]]
    rest = [many[0] for many in wanted[1:]]
    again = ["red dog red dog red dog red dog", *rest]
    ours = scores(again, wanted)["cider_d"]
    assert ours == pytest.approx(cider_by_hand(again, wanted))
    assert ours < cider_by_hand(again, wanted, clips=False) - 0.1
    longer = [f"{wanted[0][0]} and then it sees one more cat far away", *rest]
    ours = scores(longer, wanted)["cider_d"]
    assert ours == pytest.approx(cider_by_hand(longer, wanted))
    assert ours < cider_by_hand(longer, wanted, sigma=math.inf) - 0.1


def test_cider_counts_what_is_rare():
    wanted = [["a dog runs here"], ["a cat runs here"], ["a man sits here"]]
    common, rare = (scores([caption, "x", "y"], wanted)["cider_d"] for caption in ("a runs here", "a dog here"))
    assert rare > common > 0
    # "here" ends every picture, and of one picture every n-gram is in all of them.
    assert scores(["here", "here", "here"], wanted)["cider_d"] == 0
    assert scores(["a dog runs here"], wanted[:1])["cider_d"] == 0


def test_meteor_of_banerjee_and_lavie():
    result = scores(["the president then spoke to the audience"], [["The president spoke to the audience."]])
    precision, recall, penalty = 6 / 7, 1, 0.5 * (2 / 6) ** 3
    mean = 10 * precision * recall / (recall + 9 * precision)
    assert result["meteor_exact"] == pytest.approx(100 * mean * (1 - penalty))


@pytest.mark.parametrize(
    "caption, reference, fewest",
    [
        # The first free place for each word would give 4.
        ("the dog saw the cat", "the cat saw the dog", 3),
        # The first "a" has to go without a match.
        ("a a dog", "a dog", 1),
        ("a dog", "a a dog", 1),
        # The longest run first, "a a a", would give 3.
        ("b a a a a", "a a a b a", 2),
        ("a dog a dog", "dog a dog a", 2),
        ("a a a", "a a", 1),
        # A word without a match parts the run.
        ("a red dog", "a dog", 2),
        ("a dog", "a red dog", 2),
    ],
)
def test_fewest_chunks(caption, reference, fewest):
    assert caption_scores._fewest_chunks(caption.split(), reference.split()) == fewest


def test_fewest_chunks_are_the_fewest_of_all_alignments():
    rng = np.random.default_rng(1)
    for _ in range(150):
        one, other = (list(rng.choice(list("abcd"), rng.integers(1, 8))) for _ in range(2))
        every = list(alignments(one, other))
        most = max(len(pairs) for pairs in every)
        wanted = min(chunks(pairs) for pairs in every if len(pairs) == most)
        assert caption_scores._fewest_chunks(one, other) == wanted


def test_long_repetitions_are_aligned_within_the_bound(monkeypatch):
    monkeypatch.setattr(caption_scores, "_MOST_ALIGNMENTS", 50)
    assert caption_scores._fewest_chunks(["a"] * 40, ["a"] * 40) == 1
    one, other = ["a", "b"] * 15, ["b", "a"] * 15
    assert caption_scores._fewest_chunks(one, other) == 2
    monkeypatch.setattr(caption_scores, "_MOST_ALIGNMENTS", 1)
    rng = np.random.default_rng(2)
    for _ in range(50):
        one, other = (list(rng.choice(list("ab"), 12)) for _ in range(2))
        matches = sum(min(one.count(word), other.count(word)) for word in "ab")
        assert 1 <= caption_scores._fewest_chunks(one, other) <= matches


def test_exact_and_distinct():
    wanted = [["A dog.", "The dog runs"], ["a dog"], ["a dog"], ["cats"]]
    result = scores(["the DOG runs!", "a dog", "A dog .", "a dog"], wanted)
    assert result["exact"] == 3 / 4 and result["distinct"] == 2 / 4


def test_what_cannot_be_scored():
    with pytest.raises(ValueError, match="3 captions.* 2 pictures"):
        scores(["a"] * 3, [["a"]] * 2)
    with pytest.raises(ValueError, match="no captions"):
        scores([], [])
    with pytest.raises(ValueError, match="picture 1 has no references"):
        scores(["a", "b"], [["a"], []])
