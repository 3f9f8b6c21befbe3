"""`serve` answers as TensorFlow Serving does, but where the README's table says otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))  # test files are no package

from agreement import CASES, table  # noqa: E402

README = Path(__file__).parents[2] / "rnnapps" / "server" / "README.md"


def test_each_case_has_its_status_and_its_answer(server):
    wrong = []
    for case in CASES:
        status, content = server.ask(case.path, case.body)
        wanted = case.ours[0] if case.ours else case.theirs
        if status != wanted:
            wrong.append((case.name, status, content))
        elif status != 200:
            assert isinstance(content["error"], str) and "\n" not in content["error"], case.name
        elif case.ours is None:
            found = content.get("predictions", content.get("outputs"))
            if found and isinstance(found[0], dict):
                found = found[0]["text"]
            same = (
                found == case.answer if isinstance(found, str) else np.array_equal(found, case.answer, equal_nan=True)
            )
            assert same, (case.name, content)
    assert not wrong


def test_the_readme_has_the_table_of_the_cases():
    assert table() in README.read_text(encoding="utf-8"), table()
