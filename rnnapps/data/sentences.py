"""The words, subwords or characters of sentences that a model reads or writes whole, each with a number."""

from __future__ import annotations

import functools
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import tensorflow as tf

from rnnapps.data.vocabulary import JsonFile
from rnnapps.errors import UsageError
from rnnapps.ops.strings import FORMS, Form, clean, split_sentence

SENTENCE_KINDS = ("subword", "word", "char")
PAD, END, UNSEEN, FIRST = 0, 1, 2, 3
# SentencePiece writes a space as the first of these and keeps the second for itself.
_RESERVED = "\N{LOWER ONE EIGHTH BLOCK}\N{LOWER FIVE EIGHTHS BLOCK}"
_COUNTED_AT_ONCE = 2_000
# The part of a subword vocabulary that single characters may take, in a script that has thousands.
_CHARACTERS = 0.75


class SentenceVocabulary(JsonFile):
    """Numbers for symbols: 0 is the start of a sentence and padding, 1 its end, 2 anything unseen, symbols from 3.

    `SentenceCodec` turns sentences into these numbers and back.

    Args:
        kind: `"word"` (a symbol is a piece of `ops.strings.split_sentence`), `"char"` (one Unicode code point) or
            `"subword"` (a part of such a piece: two that stand side by side and make a symbol together are merged,
            the earliest symbol of all first).
        symbols: The symbols in the order of their ids, as UTF-8 bytes or `str`.
        lowercase: Whether sentences are written in small letters before they are split.
        form: Of Unicode, in which sentences are before they are split: "NFKC", which does not tell apart what differs
            in looks alone, for what is read; "NFC", which keeps each character, for what is written.

    Attributes:
        kind, lowercase, form: As given.
        symbols: Tuple of bytes; `symbols[i]` has id `i + 3`.
        size: Number of ids, `len(symbols) + 3`.

    Raises:
        UsageError: `kind` is unknown.
        ValueError: There is no symbol, one is given twice, or one is none of that kind; or `form` is unknown.
        TypeError: `lowercase` is no bool, or a symbol neither bytes nor `str`.
    """

    def __init__(self, kind: str, symbols: Iterable[bytes | str], lowercase: bool = False, form: Form = "NFKC"):
        _check_kind(kind)
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
        if not isinstance(lowercase, bool):
            raise TypeError(f"lowercase must be true or false, not {lowercase!r}")
        self.kind = kind
        self.lowercase, self.form = lowercase, form
        self.symbols = tuple(_encoded(symbol) for symbol in symbols)
        if not self.symbols:
            raise ValueError("a vocabulary holds at least one symbol")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("every symbol of a vocabulary must be there once")
        for symbol in self.symbols:
            length = len(symbol.decode("utf-8"))  # UnicodeDecodeError is a ValueError
            if not length or (kind == "char" and length > 1):
                raise ValueError(f"{symbol!r} is not one {kind}")

    @classmethod
    def learn(
        cls,
        kind: str,
        batches_of_sentences: Iterable[Sequence[bytes | str]],
        size: int,
        lowercase: bool = False,
        minimum_count: int = 1,
        form: Form = "NFKC",
    ) -> SentenceVocabulary:
        """Makes a vocabulary from the sentences of a training set.

        Words and characters go by falling count, then by text. Subwords are learned by byte pair encoding (Sennrich et
        al. 2016, https://arxiv.org/abs/1508.07909) as SentencePiece does it, in its order: merges, then characters.

        Args:
            kind: As in the class.
            batches_of_sentences: Any number of sentences at a time, UTF-8; they are made `clean` here.
            size: Number of ids at most, the three that are no symbols among them.
            lowercase, form: As in the class.
            minimum_count: A word or character that stands less often in the text gets no id; nor do subwords with it.

        Raises:
            UsageError: An argument is out of range, or the text is too small to learn from.
        """
        _check_kind(kind)
        if size <= FIRST:
            raise UsageError(f"the size of a vocabulary must be at least {FIRST + 1}, not {size}")
        if minimum_count < 1:
            raise UsageError(f"minimum_count must be at least 1, not {minimum_count}")
        counts = _count(kind, batches_of_sentences, lowercase, form)
        if kind == "subword":
            symbols = _learn_subwords(counts, size - FIRST, minimum_count)
        else:
            symbols = _most_frequent(counts, size - FIRST, minimum_count)
        if not symbols:
            raise UsageError(f"there is no {kind} that the sentences hold {minimum_count} times or more")
        return cls(kind, symbols, lowercase, form)

    @property
    def size(self) -> int:
        return len(self.symbols) + FIRST

    def to_dict(self) -> dict[str, Any]:
        """The vocabulary as values that JSON holds."""
        symbols = [symbol.decode("utf-8") for symbol in self.symbols]
        return {"kind": self.kind, "lowercase": self.lowercase, "form": self.form, "symbols": symbols}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """What `to_dict` gave; where it says no form, as none did once, it is NFKC.

        Raises:
            KeyError, TypeError, ValueError or UsageError: It is no vocabulary.
        """
        return cls(content["kind"], content["symbols"], content["lowercase"], content.get("form", "NFKC"))

    def _key(self) -> tuple[object, ...]:
        return self.kind, self.lowercase, self.form, self.symbols

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SentenceVocabulary) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def in_chunks(sentences: Iterable[str]) -> Iterator[list[str]]:
    """Sentences as lists of as many as are counted at once, in bounded memory."""
    sentences = iter(sentences)
    return iter(lambda: list(itertools.islice(sentences, _COUNTED_AT_ONCE)), [])


def pretokens(text: tf.Tensor) -> tf.RaggedTensor:
    """Splits sentences that are `clean` into words with the space before them; the first gets one too.

    Args:
        text: `(batch,)` string.

    Returns:
        Ragged string `(batch, pieces)`, see `ops.strings.split_sentence`; an empty sentence has no pieces.
    """
    return split_sentence(tf.where(tf.equal(text, ""), text, tf.strings.join([" ", text])))


def _check_kind(kind: str) -> None:
    if kind not in SENTENCE_KINDS:
        raise UsageError(f"the tokens of sentences must be one of {', '.join(SENTENCE_KINDS)}, not {kind!r}")


def _encoded(text: bytes | str, errors: str = "strict") -> bytes:
    if not isinstance(text, bytes | str):
        raise TypeError(f"{text!r} is no text")
    return text.encode("utf-8", errors) if isinstance(text, str) else text


def _count(kind: str, batches: Iterable[Sequence[bytes | str]], lowercase: bool, form: Form) -> Counter[bytes]:
    """How often each character (`"char"`) or each word with its space (any other kind) stands in the sentences."""

    counter = _counter(kind == "char", lowercase, form)
    counts: Counter[bytes] = Counter()
    for batch in batches:
        data = [_encoded(sentence, "surrogatepass") for sentence in batch]
        different, count = counter(tf.constant(data, tf.string, shape=(len(data),)))
        for piece, times in zip(different.numpy().tolist(), count.numpy().tolist(), strict=True):
            counts[piece] += times
    return counts


@functools.cache
def _counter(characters: bool, lowercase: bool, form: Form) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The graph that counts: strings `(batch,)` to the different pieces, `(pieces,)` string, and int64 counts."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def counted(strings: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        text = clean(strings, lowercase, form)
        pieces = tf.strings.unicode_split(text, "UTF-8") if characters else pretokens(text)
        different, _, count = tf.unique_with_counts(pieces.flat_values, tf.int64)
        return different, count

    return counted


def _most_frequent(counts: Mapping[bytes, int], number: int, minimum_count: int) -> list[bytes]:
    """What stands often enough, by falling count, then by text."""
    often = [symbol for symbol, count in counts.items() if count >= minimum_count]
    return sorted(often, key=lambda symbol: (-counts[symbol], symbol))[:number]


def _learn_subwords(words: Mapping[bytes, int], number: int, minimum_count: int) -> list[bytes]:
    """At most `number` subwords, in the order of merging, from how often each word stands in the text."""
    counts: Counter[bytes] = Counter()
    for word, count in words.items():
        for character in word.decode("utf-8"):
            counts[character.encode("utf-8")] += count
    characters = _most_frequent(counts, max(1, int(_CHARACTERS * number)), minimum_count)
    learned = [character for character in characters if character.decode("utf-8") not in _RESERVED]
    symbols: list[bytes] = []
    if learned:
        model = train_subwords(_parts(words, learned), number - (len(characters) - len(learned)))
        symbols = [piece.replace(_RESERVED[0], " ").encode("utf-8") for piece in pieces_of(model)]
    there = set(symbols)
    return symbols + [character for character in characters if character not in there]


def _parts(words: Mapping[bytes, int], characters: Iterable[bytes]) -> Counter[str]:
    """The words cut where they hold another character, and how often each part stands in the text."""
    known = re.compile("[" + re.escape(b"".join(characters).decode("utf-8")) + "]+")
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for part in known.findall(word.decode("utf-8")):
            parts[part] += count
    return parts


def train_subwords(words: Mapping[str, int], number: int) -> bytes:
    """Trains SentencePiece's byte pair encoding on counted words; no piece goes across the end of one.

    Returns:
        SentencePiece's model: id 0 is unknown, at most `number` pieces follow.

    Raises:
        UsageError: SentencePiece is not there, or cannot learn from these words.
    """
    lines: Iterator[str] = (f"{word}\t{words[word]}" for word in sorted(words))
    model = io.BytesIO()
    try:
        import sentencepiece

        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            input_format="tsv",
            model_writer=model,
            model_type="bpe",
            vocab_size=number + 1,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except (ImportError, RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"no subwords could be learned from {len(words)} different words ({reason})") from error
    return model.getvalue()


def pieces_of(model: bytes) -> list[str]:
    """The pieces of a SentencePiece model in their order, without the unknown one."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(i) for i in range(1, processor.get_piece_size())]
