"""Windows that begin from nothing although no text begins there."""

from __future__ import annotations

import numpy as np
import pytest

from rnnapps.data import text
from rnnapps.data.share import Share
from rnnapps.data.text import windows
from rnnapps.errors import UsageError

STEPS, ROWS = 5, 4


@pytest.fixture
def made(corpus):
    return corpus(["".join(chr(0x4E00 + i) for i in range(STEPS * ROWS * 50))])


def batches(made, **options):
    options = {"epochs": 2, "cold_starts": 0.2, "seed": 3, **options}
    return list(windows(made, "train", ROWS, STEPS, **options).as_numpy_iterator())


def test_a_share_of_the_windows_begins_as_a_text_does(made):
    plain, some = batches(made, cold_starts=0.0), batches(made)
    drawn = [(~one[0]["reset"] & other[0]["reset"]) for one, other in zip(plain, some, strict=True)]
    assert 0.15 < np.mean(drawn) < 0.25 and np.ptp(np.mean(drawn, 0)) < 0.2
    # Every epoch has the draw of the first, which is all that a data service sends.
    np.testing.assert_array_equal(drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :])
    for (x, *rest), (other, *others), cold in zip(plain, some, drawn, strict=True):
        first = np.where(cold, 0, x["tokens"][:, 0])
        np.testing.assert_array_equal(other["tokens"], np.c_[first, x["tokens"][:, 1:]])
        np.testing.assert_array_equal(other["reset"], x["reset"] | cold)
        for one, two in zip(rest, others, strict=True):
            np.testing.assert_array_equal(one, two)
    assert all(one[0]["reset"].all() for one in batches(made, cold_starts=1.0))


def test_the_draw_is_of_the_seed_and_of_the_place(made, monkeypatch):
    def cold(found):
        return np.array([x["reset"] for x, *_ in found])

    whole = cold(batches(made))
    assert not np.array_equal(whole, cold(batches(made, seed=4)))
    monkeypatch.setattr(text, "_BLOCK", 3 * ROWS * STEPS)
    np.testing.assert_array_equal(cold(batches(made, position=7)), whole[7:])
    np.testing.assert_array_equal(cold(batches(made, share=Share(1, 2))), whole[:, 2:])


def test_a_share_is_a_share(made):
    with pytest.raises(UsageError, match="cold_starts must be from 0 to 1, not 1.5"):
        windows(made, "train", ROWS, STEPS, cold_starts=1.5)
