"""`verify` names what was changed after an export; without TensorFlow's library it says what it left out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from export_helpers import Served

from rnnapps.errors import RunError
from rnnapps.serving import capi, server_files, sums, verification
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.verification import first_failure, verify

ROWS = tf.TensorSpec((None, 2), tf.float32, "x")


def without_library(*_):
    raise capi.NoLibrary("TensorFlow's C API is not to be had on win32: wanted Linux or macOS")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Written where TensorFlow's C API cannot be loaded, which takes no second process."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "run_in_c_api", without_library)
        return write_saved_model(
            Served(lambda x: {"y": x * 3.0, "s": tf.strings.as_string(x)}, ROWS), folder, "three", {}
        )


@pytest.fixture
def copy(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "run_in_c_api", without_library)
    return shutil.copytree(exported.parent, tmp_path / "three") / exported.name


def failure(path):
    found = first_failure(verify(path))
    return None if found is None else (found.name, found.detail)


def replaced(file, old, new):
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))


def test_an_export_without_the_library_is_tried_in_python(copy):
    checks = {check.name: (check.passed, check.detail) for check in verify(copy)}
    left_out = "left out: TensorFlow's C API is not to be had on win32: wanted Linux or macOS"
    assert checks.pop("C++ = Python") == (None, left_out)
    assert [passed for passed, _ in checks.values()] == [True] * 7
    assert checks["expected answer"][1] == "that of client/expected.json"


CONSTANT = np.float32(3).tobytes()
DAMAGE = {
    "a constant": (lambda path: replaced(path / "saved_model.pb", CONSTANT, np.float32(4).tobytes()), "saved_model.pb"),
    "the manifest": (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json is not what was exported"),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "manifest.json is gone"),
    "batching": (lambda path: (path / server_files.BATCHING).write_text("nonsense"), server_files.BATCHING),
    "no sums": (lambda path: (path / sums.FILE).unlink(), "SHA256SUMS cannot be read"),
    "sums": (lambda path: (path / sums.FILE).write_bytes(b"\xff"), "SHA256SUMS cannot be read"),
    "one more": (lambda path: (path / "more.txt").write_text("more"), "more.txt was not exported"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_no_longer_what_was_exported_fails_by_name(copy, name):
    damage, said = DAMAGE[name]
    damage(copy)
    check, detail = failure(copy)
    assert check == "files" and said in detail


def test_a_changed_model_with_new_sums_gives_another_answer_than_expected(copy):
    replaced(copy / "saved_model.pb", CONSTANT, np.float32(4).tobytes())
    sums.write(copy)
    check, detail = failure(copy)
    assert check == "expected answer" and "4.0" in detail and "3.0" in detail


def test_no_expected_answer_fails_too(copy):
    (copy.parent / "client" / "expected.json").unlink()
    assert failure(copy)[0] == "expected answer"


def test_of_an_older_version_no_client_is_told(copy):
    shutil.copytree(copy, copy.parent / "2")
    (copy.parent / "client" / "expected.json").write_text(json.dumps({"column": {"outputs": 1}}))
    assert failure(copy) is None and failure(copy.parent / "2")[0] == "expected answer"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "holds no batching parameters"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", r"allows batches of \[4\] rows"),
        ("max_batch_size { value: 4 } allowed_batch_sizes: [4, 2, 4]", "wanted growing numbers up to 4"),
        ("num_batch_threads { value: 0 }", "num_batch_threads 0"),
    ],
)
def test_batching_parameters_that_a_server_would_refuse(tmp_path, text, said):
    (tmp_path / server_files.BATCHING).write_text(text)
    with pytest.raises(RunError, match=said):
        server_files.check_batching(tmp_path)


def test_sums_are_those_of_sha256sum(exported):
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", sums.FILE], cwd=exported, check=True)


def test_another_system_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "platform", "win32")
    (tmp_path / "requests.json").write_text("[]")
    with pytest.raises(SystemExit) as ended:
        capi.main([str(tmp_path), str(tmp_path / "requests.json")])
    assert ended.value.code == 3 and "not to be had on win32: wanted Linux or macOS" in capsys.readouterr().err
