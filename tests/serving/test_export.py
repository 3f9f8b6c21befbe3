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
import tensorflow as tf
from elsewhere import HIDE
from export_helpers import Served, assert_same, own_answers

from rnnapps.errors import RunError
from rnnapps.serving import export
from rnnapps.serving.export import write_saved_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def exported(endpoints, tmp_path_factory):
    output = tmp_path_factory.mktemp("saved_models")
    return write_saved_model(endpoints, output, "tiny", {"seed": 4, "config": {"units": 9}})


ELSEWHERE = (
    HIDE
    + """
import json
for name in ("rnnapps", "keras"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(name + " can be imported")
import numpy as np, tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
requests = json.load(open(sys.argv[2]))
types = {"num_chars": np.int32, "seed": np.int32, "tokens": np.int32, "prompt": object, "text": object}
answers = []
for key, inputs in requests:
    given = {n: tf.constant(np.array(v, types.get(n, np.float32))) for n, v in inputs.items()}
    answers.append({n: v.numpy().tolist() for n, v in signatures[key](**given).items()})
assert not any(name.partition(".")[0] in ("rnnapps", "keras") for name in sys.modules)
print(json.dumps(answers, default=bytes.decode))
"""
)


def test_runs_where_keras_and_rnnapps_cannot_be_imported(exported, endpoints, requests, tmp_path):
    asked = tmp_path / "requests.json"
    asked.write_text(json.dumps([[key, {n: v.tolist() for n, v in inputs.items()}] for key, inputs in requests]))
    command = [sys.executable, "-c", ELSEWHERE, str(exported), str(asked)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    expected = own_answers(endpoints, requests)
    answers = [
        {
            name: np.array([text.encode() for text in value], object) if name == "text" else np.array(value)
            for name, value in answer.items()
        }
        for answer in json.loads(result.stdout)
    ]
    assert_same(answers, expected)
    assert any(len(text) for text in expected[0]["text"])


def test_manifest_lists_endpoints_and_what_the_caller_says(exported, model):
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["seed"] == 4 and manifest["config"] == {"units": 9} and manifest["name"] == "tiny"
    assert set(manifest["endpoints"]) == {"serving_default", "score", "step"}
    generate = manifest["endpoints"]["serving_default"]
    assert list(generate["inputs"]) == ["prompt", "num_chars", "temperature", "seed"]
    assert [spec["dtype"] for spec in generate["inputs"].values()] == ["string", "int32", "float32", "int32"]
    assert generate["outputs"]["text"]["shape"] == [None] and "prompt" in generate["outputs"]["text"]["unit"]
    step = manifest["endpoints"]["step"]
    assert step["outputs"]["layer_0_c"] == step["inputs"]["layer_0_c"] == {"dtype": "float32", "shape": [None, 9]}
    assert set(step["inputs"]) == set(model.input)


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


def test_warmup_file_replays(exported, endpoints):
    signatures = tf.saved_model.load(str(exported)).signatures
    path = exported / "assets.extra" / "tf_serving_warmup_requests"
    answers = []
    for record in tf.data.TFRecordDataset(str(path)):
        ((log_field, log),) = fields(record.numpy())
        ((request_field, request),) = fields(log)
        (spec_field, spec), *entries = fields(request)
        assert (log_field, request_field, spec_field) == (6, 1, 1)
        named = dict(fields(spec))
        assert named[1] == b"tiny"
        inputs = {}
        for field, entry in entries:
            assert field == 2
            parts = dict(fields(entry))
            inputs[parts[1].decode()] = tf.io.parse_tensor(parts[2], _dtype(parts[2]))
        answer = signatures[named[3].decode()](**inputs)
        answers.append({name: value.numpy() for name, value in answer.items()})
    assert_same(answers, own_answers(endpoints, endpoints.warmup()))


def _dtype(tensor: bytes) -> tf.DType:
    return tf.dtypes.as_dtype(tf.make_tensor_proto(0).FromString(tensor).dtype)


def test_nothing_of_this_machine_is_in_the_files(exported):
    text = b"".join(path.read_bytes() for path in exported.rglob("*") if path.is_file())
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


KILLED = """
import os, signal, sys
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import numpy as np, tensorflow as tf
from export_helpers import Served
from pathlib import Path
from rnnapps.serving import export
# Dies after the last file is written, before the folder gets its name.
export._publish = lambda draft, home: os.kill(os.getpid(), signal.SIGKILL)
served = Served(lambda x: {"y": x}, tf.TensorSpec((None, 2), tf.float32, "x"))
export.write_saved_model(served, Path(sys.argv[1]), "killed", {})
"""


def test_a_killed_export_leaves_only_a_hidden_folder(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(ROOT), str(Path(__file__).parent)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]
    (left,) = os.listdir(tmp_path / "killed")
    assert left.startswith(".tmp-") and (tmp_path / "killed" / left / "manifest.json").exists()
    path = write_saved_model(Served(lambda x: {"y": x}, ROWS), tmp_path, "killed", {})
    assert path.name == "1"
