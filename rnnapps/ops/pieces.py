"""Text split into pieces on the host, as `ops.strings.split` splits it in a graph; without TensorFlow."""

from __future__ import annotations

import itertools
import unicodedata

KINDS = ("char", "byte", "word")


def split_text(text: str | bytes, kind: str) -> list[bytes]:
    """Splits a text into pieces, which joined give it back.

    A text that is not valid Unicode (bytes that are not UTF-8, half of a surrogate pair) gets U+FFFD in those places,
    except with `"byte"`. What is a letter or a mark of a word is what Python's `unicodedata` says, which may know a few
    characters of the newest scripts more or less than TensorFlow.

    Args:
        text: The text; bytes are UTF-8.
        kind: One of `KINDS`, see `ops.strings.split`.

    Returns:
        The pieces, UTF-8.

    Raises:
        ValueError: `kind` is none of the three.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if kind == "byte":
        return [data[i : i + 1] for i in range(len(data))]
    characters = data.decode("utf-8", "replace")
    if kind == "char":
        return [character.encode() for character in characters]
    if kind == "word":
        return [word.encode() for word in _words(characters)]
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")


def _words(text: str) -> list[str]:
    """A run of letters, marks, digits and underscores with one space before it, or any other character alone."""
    starts = []
    in_word = after_space = False  # what the character before is
    for i, character in enumerate(text):
        goes_on = in_word or after_space
        in_word = character == "_" or unicodedata.category(character)[0] in "LMN"
        after_space = character == " "
        if not (in_word and goes_on):
            starts.append(i)
    return [text[start:end] for start, end in itertools.pairwise([*starts, len(text)])]
