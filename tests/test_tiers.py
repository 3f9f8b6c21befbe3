"""The plugin that keeps the quick tier quick, and what tests share."""

from __future__ import annotations

import pytest
import tiers
from kept import Kept

pytest_plugins = ["pytester"]

TESTS = """
import subprocess, sys, time
import pytest

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

@pytest.fixture(scope="session")
def shared():
    burn(0.1)

@pytest.fixture(scope="module")
def shared_here():
    burn(0.1)

def test_cheap(shared, shared_here):
    pass

def test_dear():
    burn(0.1)

def test_child():
    subprocess.run([sys.executable, "-c", "sum(range(6_000_000))"], check=True)

@pytest.mark.full
def test_long():
    burn(0.1)

@pytest.mark.full
def test_short():
    pass
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs these tests with small limits; the lines of the report."""
    monkeypatch.setattr(tiers, "TEST_LIMIT", 0.05)
    monkeypatch.setattr(tiers, "COULD_BE_QUICK", 0.05)
    monkeypatch.setattr(tiers, "TIER_LIMIT", 1e9)
    monkeypatch.setattr(tiers, "MEMORY_LIMIT", 1e9)
    monkeypatch.setattr(tiers, "_forget", lambda item: None)  # what the tests around this one have made stays
    monkeypatch.setattr(tiers, "_calibrate", lambda: 0.0)
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nmarkers =\n    full")

    def report(*options):
        result = pytester.runpytest_inprocess("-p", "tiers", "-p", "no:xdist", *options)
        return result.ret, "\n".join(result.outlines)

    return report


def test_a_quick_test_that_is_dear_fails_the_run(run):
    """What a fixture of many tests costs is not on the account of who asked first; what a child costs is."""
    status, said = run()
    assert status == pytest.ExitCode.TESTS_FAILED and "3 passed, 2 deselected" in said
    dear = [line.partition("::")[2].split()[0] for line in said.splitlines() if line.startswith("TOO DEAR")]
    assert sorted(dear) == ["test_child", "test_dear"]


def test_the_full_tier_may_be_dear_and_names_what_could_be_quick(run):
    status, said = run("--full", "-k", "long or short or cheap")
    assert status == pytest.ExitCode.OK and "3 passed" in said and "TOO DEAR" not in said
    assert said.count("could be quick") == 1 and "::test_short" in said


@pytest.mark.parametrize(("limit", "words"), [("TIER_LIMIT", "the quick tier took"), ("MEMORY_LIMIT", "grew to")])
def test_the_tier_as_a_whole_has_limits(run, monkeypatch, limit, words):
    monkeypatch.setattr(tiers, limit, 0)
    status, said = run("-k", "cheap")
    assert status == pytest.ExitCode.TESTS_FAILED and words in said


def test_limits_grow_on_slow_cores():
    account = tiers.Account(full=False)
    account.tests.update(a=5.0, b=1.0)
    account.processes.append(tiers.Process(slowness=1.4, cpu=10, memory=10))
    assert [sentence.split()[0] for sentence in account.breaches()] == ["a"]
    account.processes.append(tiers.Process(slowness=1.6, cpu=10, memory=10))
    assert account.breaches() == []


def test_a_folder_is_made_once_until_sources_change(request, pytester, monkeypatch):
    kept, made = Kept(request.config.cache), []
    monkeypatch.setattr(kept, "_root", pytester.path)

    def make(folder):
        assert list(folder.iterdir()) == []
        (folder / "file").write_text(str(len(made)))
        made.append(folder)
        if len(made) == 3:
            raise KeyboardInterrupt

    for sources, count in (("one", 1), ("one", 1), ("two", 2)):
        monkeypatch.setattr("kept._sources", lambda sources=sources: sources)
        assert (kept.folder("name", make) / "file").read_text() == str(count - 1)
        assert len(made) == count
    monkeypatch.setattr("kept._sources", lambda: "three")
    with pytest.raises(KeyboardInterrupt):
        kept.folder("name", make)
    assert (kept.folder("name", make) / "file").read_text() == "3", "half a folder is made anew"


def test_scripts_elsewhere_answer_or_fail(elsewhere):
    assert elsewhere.run("import sys; print(sys.argv[1:], end='')", "a", 1) == "['a', '1']"
    for module in ("rnnapps", "keras"):
        with pytest.raises(AssertionError, match=f"No module named '{module}'"):
            elsewhere.run(f"import {module}")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        elsewhere.run("left = 1 / 0")
    assert elsewhere.run("print('left' in globals())") == "False\n"
