"""BLEU counts words, and each script has its own way to find them."""

import importlib.util
import typing

import pytest

from rnnapps.errors import UsageError
from rnnapps.training.translation_scores import TOKENIZERS, by_length, scores, tokenizer_of
from rnnapps.translation import Evaluate

CHINESE = ["你好，世界！", "他在公园里跑步。", "一只狗在草地上跳跃，追逐一个红色的球。"]
JAPANESE = "犬が草の上を走っています。"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (CHINESE[0], "zh"),
        ("我用 Python 写了一个程序，它很小。", "zh"),
        ("Das ist ein Satz mit 汉字.", "13a"),
        ("สุนัขวิ่งบนหญ้า", "char"),
        ("개가 잔디 위를 달린다.", "13a"),
        ("", "13a"),
    ],
)
def test_a_script_has_its_tokenizer(text, wanted):
    assert tokenizer_of([text]) == wanted


@pytest.mark.parametrize("installed", [None, object()])
def test_japanese_goes_by_words_where_they_can_be_found(installed, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed)
    assert tokenizer_of([JAPANESE]) == ("ja-mecab" if installed else "char")


def test_a_perfect_translation_scores_100_in_every_script():
    for texts in (CHINESE, [JAPANESE] * 3, ["A dog runs on the grass today."] * 3):
        found = scores(texts, texts)
        assert found["bleu"] == pytest.approx(100) and f"tok:{tokenizer_of(texts)}" in found["bleu_signature"]
    assert scores(CHINESE, CHINESE, tokenize="13a")["bleu"] == 0  # what it was
    nearly = [text.replace("狗", "猫") for text in CHINESE]
    assert 50 < scores(nearly, CHINESE)["bleu"] < 100
    # One tokenizer for the whole table, also for a row whose texts are too few to tell.
    table = by_length(["a", "b", "c d e f g h"], ["OK", *CHINESE[1:]], ["OK", *CHINESE[1:]])
    assert [row["pairs"] for row in table.values()] == [2, 1] and table["6-10"]["bleu"] == pytest.approx(100)


def test_a_tokenizer_that_is_not_installed_is_named():
    if importlib.util.find_spec("mecab_ko") is None:
        with pytest.raises(UsageError, match=r"--tokenize ko-mecab wants more: pip install 'sacrebleu\[ko\]'"):
            scores(["a"], ["a"], tokenize="ko-mecab")
    assert "auto" in TOKENIZERS
    assert typing.get_args(typing.get_type_hints(Evaluate)["tokenize"]) == TOKENIZERS  # those of the command line
