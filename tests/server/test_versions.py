"""Versions come and go while the server runs."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cpp_process
import numpy as np
import pytest
import tensorflow as tf
from server_process import ROOT, Server, Sums, ask

from rnnapps.errors import UsageError
from rnnapps.server.layout import homes
from rnnapps.server.status import ServingError
from rnnapps.server.warmup import read_records
from rnnapps.serving.warmup import prediction_log

WARMUP = Path("assets.extra", "tf_serving_warmup_requests")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Models whose answers tell which they are: `saved(offset)` is a folder."""
    home = tmp_path_factory.mktemp("saved")
    done = {}

    def save(offset):
        if offset not in done:
            done[offset] = Sums(offset).save(home / str(offset))
        return done[offset]

    return save


def _publish(source: Path, version: Path, change=lambda draft: None) -> None:
    """As export does: written beside it, changed, renamed."""
    draft = version.parent / f".tmp-{version.name}"
    shutil.copytree(source, draft)
    change(draft)
    draft.rename(version)


def _warm_up(folder: Path, *requests: tuple[str, dict], damage=lambda content: content) -> None:
    (folder / WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for signature, inputs in requests:
            writer.write(prediction_log("sums", signature, inputs))
    (folder / WARMUP).write_bytes(damage((folder / WARMUP).read_bytes()))


ONE = np.ones(1, np.float32)


@pytest.fixture(scope="module")
def home(saved, tmp_path_factory):
    """Models among which some come and go."""
    folder = tmp_path_factory.mktemp("home") / "models"
    shutil.copytree(saved(0.0), folder / "stays" / "1")
    return folder


@pytest.fixture(scope="module")
def server(home):
    with Server(home, "--grpc-port", "-1") as server:
        yield server


def test_a_new_version_takes_over_under_load_and_none_fails(saved, home, server):
    folder = home / "taken"
    folder.mkdir()
    _publish(saved(0.0), folder / "1")
    (folder / "draft").mkdir()
    (folder / "2.old").mkdir()
    server.wait_for("taken", lambda found: found == {1: ("AVAILABLE", "")})
    answers, stop = [], threading.Event()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not stop.wait(0.005):
            answers.append(ask(connection, "/v1/models/taken:predict", {"instances": [0.0]}))
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(4)]
    for one in clients:
        one.start()
    slow = {"signature_name": "slow", "inputs": {"x": [1.0], "turns": [50_000]}}
    long_answer = []
    long_run = threading.Thread(target=lambda: long_answer.append(server.predict("taken", **slow)))
    long_run.start()
    _publish(saved(10.0), folder / "2", lambda draft: _warm_up(draft, ("serving_default", {"x": ONE})))
    states = server.wait_for("taken", lambda found: found.get(1, ("",))[0] == "END" and 2 in found)
    assert states == {1: ("END", ""), 2: ("AVAILABLE", "")}
    stop.set()
    for one in (*clients, long_run):
        one.join(60)
    assert {status for status, _ in answers} == {200} and long_answer[0][0] == 200
    values = [answer["predictions"][0] for _, answer in answers]
    assert values[0] == 0.0 and set(values) <= {0.0, 10.0}
    assert server.predict("taken", instances=[0.0]) == (200, {"predictions": [10.0]})
    assert server.ask("/v1/models/taken/versions/1:predict", {"instances": [0.0]})[0] == 404
    # Back to the old one, and then away with the model.
    shutil.rmtree(folder / "2")
    server.wait_for("taken", lambda found: found == {1: ("AVAILABLE", "")})
    assert server.predict("taken", instances=[0.0]) == (200, {"predictions": [0.0]})
    _publish(saved(5.0), home / "other")  # no version in it: not a model
    (home / "late").mkdir()
    _publish(saved(10.0), home / "late" / "7")
    server.wait_for("late", lambda found: found == {7: ("AVAILABLE", "")})
    shutil.rmtree(folder)
    server.wait_for("taken", lambda found: found == {})


def _without_variables(folder):
    (folder / "variables" / "variables.index").unlink()


def _without_data(folder):
    (folder / "variables" / "variables.data-00000-of-00001").unlink()


def _short(folder):
    content = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(content[: len(content) // 2])


def _no_graph(folder):
    (folder / "saved_model.pb").unlink()


def _link(folder):
    (folder / "variables" / "more").symlink_to("/etc/hostname")


def _linked_variables(folder):
    elsewhere = folder.parents[2] / f"elsewhere-{folder.name}"
    (folder / "variables").rename(elsewhere)
    (folder / "variables").symlink_to(elsewhere)


def _edit(change):
    def edit(folder):
        from tensorflow.core.protobuf import saved_model_pb2

        content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        change(content.meta_graphs[0])
        (folder / "saved_model.pb").write_bytes(content.SerializeToString())

    return edit


BROKEN = {
    "no variables": (_without_variables, "no variables/variables.index"),
    "no data": (_without_data, "no variables/variables.data"),
    "short": (_short, "damaged"),
    "no graph": (_no_graph, "no saved_model.pb"),
    "link": (_link, "more is a symbolic link that leaves"),
    "linked variables": (_linked_variables, "variables is a symbolic link that leaves"),
    "asset": (_edit(lambda graph: graph.asset_file_def.add(filename="../../secret")), "outside of the folder assets"),
    "absolute asset": (_edit(lambda graph: graph.asset_file_def.add(filename="/etc/passwd")), "outside of the folder"),
    "saver": (_edit(lambda graph: setattr(graph.saver_def, "filename_tensor_name", "/a/b")), "leaves the folder"),
    "PyFunc": (_edit(lambda graph: graph.graph_def.node.add(name="p", op="PyFunc")), "the op PyFunc (p)"),
    "cuDNN": (_edit(lambda graph: graph.graph_def.node.add(name="c", op="CudnnRNNV3")), "the op CudnnRNNV3"),
    "in a function": (
        _edit(lambda graph: graph.graph_def.library.function.add().node_def.add(name="r", op="ReadFile")),
        "the op ReadFile (r)",
    ),
    "warm-up fails": (
        lambda folder: _warm_up(folder, ("picky", {"x": -ONE})),
        "record 0 of tf_serving_warmup_requests fails",
    ),
    "warm-up's signature": (
        lambda folder: _warm_up(folder, ("serving_default", {"x": ONE}), ("nope", {"x": ONE})),
        "record 1 of tf_serving_warmup_requests fails",
    ),
    "warm-up is damaged": (
        lambda folder: _warm_up(folder, ("picky", {"x": ONE}), damage=lambda c: c[:20] + b"?" + c[21:]),
        "record 0 of tf_serving_warmup_requests is damaged",
    ),
}  # fmt: skip


def test_a_version_that_does_not_load_leaves_the_old_one_serving(saved, home, server):
    folder = home / "breaks"
    folder.mkdir()
    _publish(saved(0.0), folder / "1")
    server.wait_for("breaks", lambda found: found == {1: ("AVAILABLE", "")})
    for number, (change, words) in enumerate(BROKEN.values(), start=2):
        _publish(saved(10.0), folder / str(number), change)
        found = server.wait_for("breaks", lambda found, n=number: found.get(n, ("",))[0] == "END")
        assert words in found[number][1] and "\n" not in found[number][1]
        assert found[1] == ("AVAILABLE", "")
        assert server.predict("breaks", instances=[1.0]) == (200, {"predictions": [1.0]})
    logged = [line for line in server.log if "does not load" in line]
    assert len(logged) == len(BROKEN)  # each once, and not at every look
    # A copy that becomes complete is tried again.
    slow = folder / "100"
    slow.mkdir()
    server.wait_for("breaks", lambda found: found.get(100, ("",))[0] == "END")
    shutil.copytree(saved(10.0), slow, dirs_exist_ok=True)
    server.wait_for("breaks", lambda found: found.get(100, ("",))[0] == "AVAILABLE")
    assert server.predict("breaks", instances=[1.0]) == (200, {"predictions": [11.0]})


def test_assets_are_found_where_the_model_lies(home, server, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    model = Sums(assets=str(words))

    def look_up(word):
        return {"id": model.table.lookup(word)}

    spec = tf.TensorSpec((None,), tf.string, name="word")
    model.save(tmp_path / "words", find=tf.function(look_up, input_signature=[spec]))
    words.unlink()
    (home / "words").mkdir()
    _publish(tmp_path / "words", home / "words" / "1")
    server.wait_for("words", lambda found: found == {1: ("AVAILABLE", "")})
    asked = server.predict("words", signature_name="find", instances=["b", "c"])
    assert asked == (200, {"predictions": [1, -1]})


CONFIG = """
model_config_list {
  config { name: "both" base_path: "/models/sums" model_platform: "tensorflow"
           model_version_policy { specific { versions: 1 versions: 2 } }
           version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 } }
  config { name: "newest" base_path: "sums" model_version_policy { latest { num_versions: 2 } } }
  config { name: "next" base_path: "/models/next" model_version_policy { specific { versions: 1 } }
           version_labels { key: "stable" value: 1 } }
}
"""


@pytest.fixture(scope="module")
def configured(saved, tmp_path_factory):
    """The folder of a models.config, and its server."""
    folder = tmp_path_factory.mktemp("configured")
    for number in (1, 2, 3):
        shutil.copytree(saved(10.0 * number), folder / "sums" / str(number))
    shutil.copytree(saved(10.0), folder / "next" / "1")
    (folder / "models.config").write_text(CONFIG)
    with Server(folder, "--grpc-port", "-1") as server:
        yield folder, server


def test_models_config(configured):
    _, server = configured
    assert server.ask("/v1/models/sums")[0] == 404
    for path, value in {
        "both": 20.0, "both/versions/1": 10.0, "both/labels/stable": 10.0, "both/labels/canary": 20.0,
        "newest": 30.0, "newest/versions/2": 20.0, "newest/labels/stable": 30.0,
    }.items():  # fmt: skip
        answer = server.ask(f"/v1/models/{path}:predict", {"instances": [0.0]})
        assert answer == (200, {"predictions": [value]}), path
    for path, status in (("both/versions/3", 404), ("newest/versions/1", 404), ("newest/labels/canary", 400)):
        assert server.ask(f"/v1/models/{path}:predict", {"instances": [0.0]})[0] == status, path


def test_a_models_config_that_changes_is_followed(saved, configured):
    """As an export changes it: the new version is in its place before the file names it."""
    folder, server = configured

    def configure(text):
        (folder / "draft").write_text(text)
        (folder / "draft").rename(folder / "models.config")

    def answered():
        return server.ask("/v1/models/next/labels/stable:predict", {"instances": [0.0]})[1]

    _publish(saved(20.0), folder / "next" / "2")
    configure("nonsense {")
    assert answered() == {"predictions": [10.0]}
    first, _, last = CONFIG.rpartition("specific { versions: 1 }")
    configure(f"{first}specific {{ versions: 2 }}{last.replace('value: 1', 'value: 2')}")
    server.wait_for("next", lambda found: found == {1: ("END", ""), 2: ("AVAILABLE", "")})
    assert answered() == {"predictions": [20.0]}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("model_config_list { config { name: 'a' base_path: '../x' } }", "wanted a folder below"),
        ("model_config_list { config { name: 'a' base_path: '/etc' } }", "wanted a folder below"),
        ("model_config_list { config { name: 'a' base_path: '/models/../etc' } }", "wanted a folder below"),
        ("model_config_list { config { name: '../a' base_path: 'a' } }", "no plain folder name"),
        ("model_config_list { config { name: 'a' base_path: 'a' model_platform: 'jax' } }", "wanted tensorflow"),
        ("model_config_list { }", "at least one"),
        ("models: 3", "no ModelServerConfig in text format"),
    ],
)
def test_a_models_config_that_is_refused(config, words, tmp_path):
    (tmp_path / "models.config").write_text(config)
    with pytest.raises(UsageError, match=words):
        homes(tmp_path)


def test_what_a_path_may_be(tmp_path):
    with pytest.raises(UsageError, match="holds no model"):
        homes(tmp_path)
    version = tmp_path / "models" / "a" / "3"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    for number in ("4", "-5", "٣", "1" * 25):
        (version.parent / number).mkdir()
    for path, name, versions in (
        (tmp_path / "models", "a", {3, 4}),
        (tmp_path / "models" / "a", "a", {3, 4}),
        (version, "a", {3}),
    ):
        (home,) = homes(path)()
        assert home.name == name and home.policy(home.versions()) == ({max(versions)} if len(versions) > 1 else {3})
    draft = tmp_path / "draft"
    version.rename(draft)
    with pytest.raises(UsageError, match="whose folder is no version"):
        homes(draft)


def test_records_are_checked_as_tensorflow_writes_them(tmp_path):
    records = [b"", b"a" * 1000, bytes(range(256))]
    with tf.io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for record in records:
            writer.write(record)
    content = (tmp_path / "records").read_bytes()
    assert list(read_records(content)) == records
    for place in range(0, len(content), 7):
        damaged = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises(ServingError, match="is damaged"):
            list(read_records(damaged))
    with pytest.raises(ServingError, match="record 2 of .* is damaged"):
        list(read_records(content[:-1]))


@pytest.fixture
def broken(tmp_path):
    """Options of a server of a model that does not load."""
    version = tmp_path / "broken" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"\xff")
    return ["--models", str(tmp_path), "--rest-port", "0", "--grpc-port", "0"]


SERVE = """
import sys
from rnnapps import cli
sys.path[:0] = filter(None, [sys.argv.pop(1)])
status = cli.overview(["serve", *sys.argv[1:]])
print(status)
"""
DAMAGED = "error: no model loads (broken, version 1: saved_model.pb of version 1 is damaged)"


def test_the_command_says_what_is_wrong(broken, tmp_path):
    done = cpp_process.run(SERVE, "", *broken)
    assert done.stdout == b"1\n" and done.stderr.decode().splitlines()[-1] == DAMAGED
    # As if the extra were not installed.
    (tmp_path / "aiohttp.py").write_text("raise ImportError('No module named aiohttp')")
    done = cpp_process.run(SERVE, tmp_path, *broken)
    assert (done.stdout, done.stderr) == (
        b"2\n",
        b"error: serve wants the extra: pip install 'rnnapps[serving]' (No module named aiohttp)\n",
    )


@pytest.mark.full
def test_the_process_says_what_is_wrong(broken):
    command = [sys.executable, "-m", "rnnapps", "serve", *broken]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == DAMAGED
