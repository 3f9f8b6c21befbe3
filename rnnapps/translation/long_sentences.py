"""Texts that are longer than what a model has learnt, in parts that are not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

# After a full stop, a question or an exclamation mark, with what closes after it; in scripts without spaces too.
_END = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019\u00bb)\]]*\s+|(?<=[\u3002\uff01\uff1f])\s*")

_UNSPACED_ENDS = ("\u3002", "\uff01", "\uff1f")


def in_parts(text: str, longest: int, lengths: Callable[[Sequence[str]], Sequence[int]]) -> list[str]:
    """Cuts a text that is longer than `longest` at the end of every sentence; one that is not is a part as it is.

    Not at as few places as would do: of several sentences at once, a model that learnt single ones translates the first
    and stops. `joined`, the parts are the text, but for its white space.

    Args:
        text: One or more sentences.
        longest: Tokens of a text that is not cut.
        lengths: Gives the number of tokens of each of some texts.
    """
    if lengths([text])[0] <= longest:
        return [text]
    cuts = [0, *(match.end() for match in _END.finditer(text)), len(text)]
    sentences = [text[first:last].strip() for first, last in itertools.pairwise(cuts)]
    return [sentence for sentence in sentences if sentence]


def joined(parts: Sequence[str]) -> str:
    """One text of sentences: with a space between two, but for scripts that have none."""
    text = ""
    for part in parts:
        between = "" if not text or text.endswith(_UNSPACED_ENDS) else " "
        text += between + part
    return text
