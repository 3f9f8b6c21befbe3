"""Exports: what is written, that it runs elsewhere, and that a failed one leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_exports
import tensorflow as tf
from export_helpers import Served, assert_same

from rnnapps.errors import RunError
from rnnapps.serving import export
from rnnapps.serving.export import write_saved_model

ROOT = Path(__file__).parents[2]


def test_manifest_lists_endpoints_and_what_the_caller_says(text_export):
    manifest = json.loads((text_export / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["figures"] == {"test_nats": 1.5} and manifest["name"] == "text" and manifest["xla"] is False
    assert set(manifest["endpoints"]) == {"serving_default", "score", "step"}
    generate = manifest["endpoints"]["serving_default"]
    assert list(generate["inputs"]) == ["prompt", "num_chars", "temperature", "seed"]
    assert [spec["dtype"] for spec in generate["inputs"].values()] == ["string", "int32", "float32", "int32"]
    assert generate["outputs"]["text"]["shape"] == [None] and "prompt" in generate["outputs"]["text"]["unit"]
    step = manifest["endpoints"]["step"]
    assert step["outputs"]["layer_0_c"] == step["inputs"]["layer_0_c"] == {"dtype": "float32", "shape": [None, 33]}


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def fields(data: bytes) -> list[tuple[int, bytes]]:
    """Length-delimited fields of a protocol buffer, by a reader that shares nothing with the writer."""
    found, at = [], 0
    while at < len(data):
        tag, at = varint(data, at)
        assert tag & 7 == 2
        size, at = varint(data, at)
        found.append((tag >> 3, data[at : at + size]))
        at += size
    return found


def test_warmup_file_holds_the_requests_of_the_endpoints(text_export):
    asked = []
    for record in tf.data.TFRecordDataset(str(text_export / "assets.extra" / "tf_serving_warmup_requests")):
        ((log_field, log),) = fields(record.numpy())
        ((request_field, request),) = fields(log)
        (spec_field, spec), *entries = fields(request)
        assert (log_field, request_field, spec_field) == (6, 1, 1)
        named = dict(fields(spec))
        assert named[1] == b"text"
        inputs = {}
        for field, entry in entries:
            assert field == 2
            parts = dict(fields(entry))
            inputs[parts[1].decode()] = tf.io.parse_tensor(parts[2], _dtype(parts[2])).numpy()
        asked.append((named[3].decode(), inputs))
    wanted = small_exports.text().endpoints.warmup()
    assert [key for key, _ in asked] == [key for key, _ in wanted]
    assert_same([inputs for _, inputs in asked], [inputs for _, inputs in wanted])


def _dtype(tensor: bytes) -> tf.DType:
    return tf.dtypes.as_dtype(tf.make_tensor_proto(0).FromString(tensor).dtype)


def test_nothing_of_this_machine_is_in_the_files(text_export):
    text = b"".join(path.read_bytes() for path in text_export.rglob("*") if path.is_file())
    for path in (str(ROOT), str(Path.home()), os.path.dirname(tf.__file__)):
        assert path in ("/", "") or path.encode() + b"/" not in text


def test_versions_count_up_and_other_names_do_not_matter(tmp_path):
    for entry in ("7", "latest", ".tmp-old", "0009x"):
        (tmp_path / "tiny" / entry).mkdir(parents=True)
    path = write_saved_model(Served(lambda x: {"y": x}, ROWS), tmp_path, "tiny", {})
    assert path == tmp_path / "tiny" / "8"
    assert sorted(os.listdir(path)) == [
        *(
            "SHA256SUMS",
            "assets",
            "assets.extra",
            "batching_params.pbtxt",
            "fingerprint.pb",
            "manifest.json",
            "saved_model.pb",
        ),
        "variables",
    ]
    assert sorted(os.listdir(tmp_path / "tiny")) == [".tmp-old", "0009x", "7", "8", "MODEL_CARD.md", "client", "latest"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_custom_gradient_inside_a_loop_is_no_obstacle(tmp_path):
    @tf.custom_gradient
    def running(x):  # as a recurrent layer: a loop, and a gradient that needs what the loop kept
        kept = tf.TensorArray(tf.float32, 3)
        y, kept = tf.while_loop(lambda *_: True, lambda y, kept: (y + x, kept), (x, kept), maximum_iterations=3)
        return y, lambda upstream: upstream * kept.size()

    def twice(x):
        return {"y": tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, running(y)), (0, x))[1]}

    path = write_saved_model(Served(twice, ROWS), tmp_path, "loop", {})
    answer = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.ones((1, 2)))
    assert answer["y"].numpy().tolist() == [[16.0, 16.0]]


def test_two_exports_at_once_get_two_versions(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "taken").touch()
    drafts = [tmp_path / ".tmp-a", tmp_path / ".tmp-b"]
    for draft in drafts:
        draft.mkdir()
        (draft / "file").touch()
    listed = iter([[tmp_path / "0"], [tmp_path / "1"], [tmp_path / "1"], [tmp_path / "1", tmp_path / "2"]])

    class Home(type(tmp_path)):
        def iterdir(self):  # what another export made in the meantime is not seen at first
            return iter(next(listed))

    assert [export._publish(draft, Home(tmp_path)).name for draft in drafts] == ["2", "3"]


ROWS = tf.TensorSpec((None, 2), tf.float32, "x")


def printing(x):
    tf.print(x)
    return {"y": x}


BAD = {
    "scalar input": (Served(lambda x: {"y": x}, tf.TensorSpec((), tf.float32, "x")), r"'x' in the inputs .* \[\]"),
    "fixed rows": (Served(lambda x: {"y": x}, tf.TensorSpec((3, 2), tf.float32, "x")), r"\[3, 2\]"),
    "scalar output": (Served(lambda x: {"y": tf.reduce_sum(x)}, ROWS), "'y' in the outputs"),
    "rows lost": (Served(lambda x: {"y": x[1:]}, ROWS), "0 rows for 1"),
    "print": (Served(printing, ROWS), "PrintV2"),
    "python": (
        Served(lambda x: {"y": tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), (None, 2))}, ROWS),
        "PyFunc",
    ),
    "file": (Served(lambda x: {"y": x + tf.strings.to_number(tf.io.read_file("/nowhere"))}, ROWS), "ReadFile"),
    "xla": (Served(lambda x: {"y": tf.function(tf.sin, jit_compile=True)(x)}, ROWS), "XLA must compile"),
    "failing": (Served(lambda x: {"y": tf.ensure_shape(tf.reshape(x, (-1, 4)), (None, 4))}, ROWS), "a request for"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_export_leaves_nothing(name, tmp_path):
    served, message = BAD[name]
    with pytest.raises(RunError, match=message):
        write_saved_model(served, tmp_path, "bad", {})
    assert os.listdir(tmp_path / "bad") == [] and not (tmp_path / "models.config").exists()


def test_after_a_bad_export_a_good_one_is_the_first_version(tmp_path):
    served, message = BAD["scalar output"]
    with pytest.raises(RunError, match=message):
        write_saved_model(served, tmp_path, "bad", {})
    good = write_saved_model(Served(lambda x: {"y": x}, ROWS), tmp_path, "bad", {})
    assert good.name == "1"


def test_wrong_requests_and_names(tmp_path):
    wrong = {"wants 1 to": [], "'nope'": [("nope", {})], "wanted .'x'": [("serving_default", {"z": [1.0]})]}
    for message, requests in wrong.items():
        with pytest.raises(RunError, match=message):
            write_saved_model(Served(lambda x: {"y": x}, ROWS, requests=requests), tmp_path, "name", {})
    good = Served(lambda x: {"y": x}, ROWS)
    for name in ("", "a/b", "..", ".hidden"):
        with pytest.raises(RunError, match="folder name"):
            write_saved_model(good, tmp_path, name, {})
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        write_saved_model(good, tmp_path, "file", {})


def test_a_draft_that_was_left_behind_is_hidden_and_does_not_matter(tmp_path, monkeypatch):
    """As of an export that is killed after the last file is written, before the folder gets its name."""

    class Killed(BaseException):
        pass

    def die(draft, home):
        raise Killed

    good = Served(lambda x: {"y": x}, ROWS)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(export, "_publish", die)
        patch.setattr(export.shutil, "rmtree", lambda *_, **__: None)
        write_saved_model(good, tmp_path, "killed", {})
    (left,) = os.listdir(tmp_path / "killed")
    assert left.startswith(".tmp-") and (tmp_path / "killed" / left / "manifest.json").exists()
    assert write_saved_model(good, tmp_path, "killed", {}).name == "1"


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
import tensorflow as tf
from export_helpers import Served
from pathlib import Path
from rnnapps.serving import export
export._publish = lambda draft, home: os.kill(os.getpid(), signal.SIGKILL)
served = Served(lambda x: {"y": x}, tf.TensorSpec((None, 2), tf.float32, "x"))
export.write_saved_model(served, Path(sys.argv[1]), "killed", {})
"""


@pytest.mark.full
def test_a_killed_export_leaves_only_a_hidden_folder(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path), *map(str, (ROOT, ROOT / "tests", Path(__file__).parent))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]
    (left,) = os.listdir(tmp_path / "killed")
    assert left.startswith(".tmp-") and (tmp_path / "killed" / left / "manifest.json").exists()
