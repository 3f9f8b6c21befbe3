"""`verify`: what a server would choke on, or answer otherwise, is found, and nothing else."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from export_helpers import Served

import rnnapps.serving
from rnnapps import cli
from rnnapps.errors import RunError
from rnnapps.serving import comparison, server_files, verification, warmup
from rnnapps.serving.export import write_saved_model
from rnnapps.serving.verification import first_failure, verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the names of the libraries are those of Linux")

ANY = tf.TensorSpec((None, None), tf.float32, "x")


def rows(*lengths):
    """Requests of one row each, of these lengths, all different."""
    starts = np.arange(1.0, len(lengths) + 1)
    return [
        ("serving_default", {"x": np.arange(start, start + n, dtype=np.float32)[None]})
        for start, n in zip(starts, lengths, strict=True)
    ]


class Padded(Served):
    TAKES_PADDING = True


def saved(path, function, requests, *signature, kind=Padded):
    """A SavedModel of a server that pads, with its warm-up file, written without any check."""
    served = kind(function, *(signature or [ANY]), requests=requests)
    tf.saved_model.save(served, str(path), signatures=served.endpoints())
    warmup.write(path, "made", served.warmup())
    described = {"serving_default": {"inputs": {"x": {"shape": [None, None]}}}}
    server_files.write_batching(path, (1, 2), described, kind.TAKES_PADDING)
    return path


def failure(path, xla=None):
    found = first_failure(verify(path, xla))
    return None if found is None else (found.name, found.detail)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    scale = tf.Variable(2.0)

    class Scaled(Padded):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.scale = scale  # held, so that it is saved

    path = tmp_path_factory.mktemp("good")
    return saved(path, lambda x: {"y": scale * tf.cumsum(x, axis=1)}, rows(3, 5), kind=Scaled)


def test_a_good_model_passes_every_check(good):
    checks = rnnapps.serving.verify(good)
    assert [check.passed for check in checks] == [True] * 7
    assert checks[4].detail == "3 requests of 1 or 3 rows, XLA off"
    assert verification.table(checks).count("passed") == 7


def test_rows_that_look_at_each_other_are_found(tmp_path):
    path = saved(tmp_path, lambda x: {"y": x - tf.reduce_mean(x, axis=0)}, rows(4, 4))
    assert failure(path)[0] == "together = alone"


def test_rows_that_trust_the_padding_are_found(tmp_path):
    path = saved(tmp_path, lambda x: {"y": tf.reduce_sum(x, axis=1)}, rows(2, 5))
    name, detail = failure(path)
    assert name == "together = alone" and "'y'" in detail
    (path / server_files.BATCHING).unlink()  # a server that does not join what has different lengths is right
    assert failure(path) is None


def test_a_length_beside_the_row_makes_padding_harmless(tmp_path):
    specs = [ANY, tf.TensorSpec((None,), tf.int32, "n")]

    def total(x, n):
        return {"y": tf.reduce_sum(tf.where(tf.sequence_mask(n, tf.shape(x)[1]), x, 0.0), axis=1)}

    requests = [(key, {**inputs, "n": np.array([inputs["x"].shape[1]], np.int32)}) for key, inputs in rows(2, 5)]
    assert failure(saved(tmp_path, total, requests, *specs)) is None


class Counting(Served):
    """Each request is answered by how many there were."""

    def __init__(self):
        self.count = tf.Variable(0.0)
        super().__init__(self.counted, ANY, requests=rows(2, 3))

    def counted(self, x):
        return {"y": tf.zeros_like(x[:, 0]) + self.count.assign_add(1.0)}


def test_a_model_that_remembers_is_found(tmp_path):
    served = Counting()
    tf.saved_model.save(served, str(tmp_path), signatures=served.endpoints())
    warmup.write(tmp_path, "made", served.warmup())
    # Together or twice: either way another answer than alone and at first.
    assert failure(tmp_path)[0] in ("together = alone", "twice = once")


def test_random_numbers_without_a_seed_are_found(tmp_path):
    path = saved(tmp_path, lambda x: {"y": x + tf.random.normal(tf.shape(x))}, rows(2, 3))
    # With a seed for the whole process, the numbers of C++ and of Python may be the same at first.
    assert failure(path)[0] in ("C++ = Python", "together = alone", "twice = once")


def test_what_only_xla_can_run_is_found_unless_xla_is_on(tmp_path):
    path = saved(tmp_path, lambda x: {"y": tf.function(tf.sin, jit_compile=True)(x)}, rows(2, 3))
    name, detail = failure(path)
    assert name == "operations" and "XLA must compile" in detail
    assert failure(path, xla=True) is None
    (path / "manifest.json").write_text(json.dumps({"xla": True}))
    assert failure(path) is None


def test_strings_inside_xla_are_found_before_a_request_fails(tmp_path):
    @tf.function(jit_compile=True)
    def spoken(x):
        return tf.strings.length(tf.strings.as_string(x))

    path = saved(tmp_path, lambda x: {"y": spoken(x)}, rows(2))
    name, detail = failure(path, xla=True)
    assert name == "operations" and "AsString" in detail and "on strings" in detail


def test_an_op_without_a_kernel_under_xla_is_found(tmp_path):
    def table(x):
        lookup = tf.raw_ops.BlockLSTMV2(
            seq_len_max=tf.constant(2, tf.int64), x=tf.reshape(x, (2, 1, 1)), cs_prev=tf.zeros((1, 1)),
            h_prev=tf.zeros((1, 1)), w=tf.zeros((2, 4)), wci=tf.zeros(1), wcf=tf.zeros(1), wco=tf.zeros(1),
            b=tf.zeros(4),
        )  # fmt: skip
        return x + lookup.h[0]

    path = saved(tmp_path, lambda x: {"y": tf.function(table, jit_compile=True)(x)}, rows(2, 2))
    name, detail = failure(path, xla=True)
    assert "BlockLSTMV2" in detail and name == "C++ = Python"


def damage(good, tmp_path):
    path = tmp_path / "1"
    shutil.copytree(good, path)
    return path


def test_missing_and_damaged_files_are_one_sentence(good, tmp_path):
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/tf_serving_warmup_requests"):
        path = damage(good, tmp_path / name.replace("/", "_"))
        (path / name).unlink()
        assert name in failure(path)[1]
    path = damage(good, tmp_path / "short")
    content = (path / "saved_model.pb").read_bytes()
    (path / "saved_model.pb").write_bytes(content[: len(content) // 2])
    assert "damaged" in failure(path)[1]
    path = damage(good, tmp_path / "warm")
    record = (path / warmup.FILE).read_bytes()
    (path / warmup.FILE).write_bytes(record[:-3])
    assert "damaged" in failure(path)[1]


def test_paths_that_climb_out_are_refused(good, tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    path = damage(good, tmp_path / "asset")
    content = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    content.meta_graphs[0].asset_file_def.add().filename = "../../secret"
    (path / "saved_model.pb").write_bytes(content.SerializeToString())
    assert "'../../secret'" in failure(path)[1]
    path = damage(good, tmp_path / "link")
    (path / "assets").mkdir(exist_ok=True)
    (path / "assets" / "words.txt").symlink_to(tmp_path / "elsewhere")
    assert "a symbolic link that leaves its folder" in failure(path)[1]


def test_requests_for_other_endpoints_or_with_other_inputs_are_found(tmp_path):
    for key, inputs, said in (("nope", {"x": np.ones((1, 2), "f")}, "'nope'"), ("serving_default", {}, "wanted ['x']")):
        path = saved(tmp_path / said.strip("'[] "), lambda x: {"y": x}, [(key, inputs)])
        assert said in failure(path)[1]


def test_a_failing_export_gets_no_version_and_keeps_the_last_one(tmp_path):
    good = write_saved_model(Served(lambda x: {"y": x}, ANY, requests=rows(2, 3)), tmp_path, "one", {})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    bad = Served(lambda x: {"y": x - tf.reduce_mean(x, 0)}, ANY, requests=rows(2, 2))
    with pytest.raises(RunError, match="one is not exported, as the check 'together = alone' fails"):
        write_saved_model(bad, tmp_path, "one", {})
    assert good.name == "1" and {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_command_prints_a_table_and_fails_when_a_check_does(good, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rnnapps.runtime.configure", lambda threads: None)
    models = tmp_path / "models"
    shutil.copytree(good, models / "fine" / "2")
    assert cli.overview(["verify", str(models)]) == 0
    shown = capsys.readouterr()
    assert "fine/2" in shown.out and shown.out.count("passed") == 7 and "all checks passed" in shown.err
    shutil.copytree(good, models / "broken" / "1")
    (models / "broken" / "1" / "saved_model.pb").write_bytes(b"\xff")
    assert cli.overview(["verify", str(models), "--json"]) == 1
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert [line["path"].split("/")[-2] for line in lines] == ["broken", "fine"]
    assert [check["passed"] for check in lines[0]["checks"]] == [False] + [None] * 6
    assert "broken/1 failed" in shown.err
    assert cli.overview(["verify", str(tmp_path / "nowhere")]) == 2


def test_padding_is_the_servers():
    """tensorflow_serving/batching: a shorter row is filled up with its own first element."""
    first, second = np.array([[7, 8]], np.int32), np.array([[1, 2, 3]], np.int32)
    np.testing.assert_array_equal(comparison.padded([first, second]), [[7, 8, 7], [1, 2, 3]])


def test_what_a_client_gets_is_what_the_server_would_print(tmp_path):
    served = Padded(lambda x: {"y": 0.1 * x}, ANY, requests=rows(2, 3))
    write_saved_model(served, tmp_path, "tenth", {})
    client = tmp_path / "tenth" / "client"
    row, column, wanted = (
        json.loads((client / name).read_text()) for name in ("request_row.json", "request_column.json", "expected.json")
    )
    assert row == {"signature_name": "serving_default", "instances": [{"x": [1.0, 2.0]}]}
    assert column == {"signature_name": "serving_default", "inputs": {"x": [[1.0, 2.0]]}}
    assert wanted == {"row": {"predictions": [[0.1, 0.2]]}, "column": {"outputs": [[0.1, 0.2]]}}
    for script in ("client_grpc.py",):
        compile((client / script).read_text(), script, "exec")
    assert server_files.pads(tmp_path / "tenth" / "1")


def test_the_servers_files_name_every_model_at_its_last_version(tmp_path):
    model_server_config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    for name in ("b", "a", "a"):
        write_saved_model(Served(lambda x: {"y": x}, ANY, requests=rows(2, 3)), tmp_path, name, {})
    config = text_format.Parse((tmp_path / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    found = {
        one.name: (one.base_path, list(one.model_version_policy.specific.versions), dict(one.version_labels))
        for one in config.model_config_list.config
    }
    assert found == {"a": ("/models/a", [2], {"stable": 2}), "b": ("/models/b", [1], {"stable": 1})}
    assert not (tmp_path / "models_xla.config").exists()
    write_saved_model(Served(lambda x: {"y": x}, ANY, requests=rows(2, 3), xla=True), tmp_path, "b_xla", {})
    assert "b_xla" not in (tmp_path / "models.config").read_text()
    assert (tmp_path / "models_xla.config").read_text().count("name:") == 3
    assert 'path: "/monitoring/prometheus/metrics"' in (tmp_path / "monitoring.config").read_text()


def test_real_protocol_buffers_read_the_warmup_file(tmp_path):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    requests = [("step", {"x": np.array([[1.5, 2]], np.float32), "s": np.array([b"\xff", b""], object)})]
    warmup.write(tmp_path, "named", requests)
    (record,) = tf.data.TFRecordDataset(str(tmp_path / warmup.FILE))
    request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("named", "step")
    assert tf.make_ndarray(request.inputs["x"]).tolist() == [[1.5, 2]]
    assert tf.make_ndarray(request.inputs["s"]).tolist() == [b"\xff", b""]
    (logged,) = warmup.read(tmp_path)
    assert logged.endpoint == "step" and logged.inputs["s"].tolist() == [b"\xff", b""]
