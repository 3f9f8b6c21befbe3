"""Writes a SavedModel in TF Serving's layout, tried out, and in its place only when it is whole.

    DIR/NAME/VERSION/saved_model.pb, variables/, assets/
    DIR/NAME/VERSION/manifest.json                               what it is: endpoints, and what the caller says
    DIR/NAME/VERSION/SHA256SUMS                                  of all files of the version
    DIR/NAME/VERSION/assets.extra/tf_serving_warmup_requests     requests that the server answers before it is ready
    DIR/NAME/VERSION/batching_params.pbtxt                       how the server joins requests
    DIR/NAME/MODEL_CARD.md, client/                              for people: figures, endpoints, requests with answers
    DIR/models.config, monitoring.config                         for the server: all models of the folder

The model needs neither this package nor Keras: stock TensorFlow ops, weights as variables, strings in and strings out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from rnnapps.errors import RunError
from rnnapps.ops import execution
from rnnapps.serving import sums, warmup
from rnnapps.serving.card import write_card
from rnnapps.serving.client_files import write_client_files
from rnnapps.serving.endpoints import BATCH_SIZES, XLA_BATCH_SIZES, Endpoints, with_equal_rows
from rnnapps.serving.saved_model import describe
from rnnapps.serving.server_files import write_batching, write_server_files
from rnnapps.serving.verification import Verification, check_rows_first, first_failure


def export_servables(
    make: Callable[[bool], Endpoints], output: Path, name: str, manifest: Mapping[str, Any], xla: bool = False
) -> list[Path]:
    """Writes a model, and with `xla` its form for a server with XLA switched on, as a model of its own, `NAME_xla`.

    Args:
        make: From whether functions are compiled by XLA to what is served.
        output: Folder of all models.
        name: The model's name.
        manifest: As of `write_saved_model`.
        xla: Whether the other form is wanted too.

    Returns:
        The folders of the new versions.

    Raises:
        RunError: As of `write_saved_model`.
    """
    paths = [write_saved_model(make(False), output, name, manifest)]
    if xla:
        paths.append(write_saved_model(make(True), output, f"{name}_xla", manifest))
    return paths


def write_saved_model(servable: Endpoints, output: Path, name: str, manifest: Mapping[str, Any]) -> Path:
    """Writes `output/name/<next version>/`, which TF Serving and `tf.saved_model.load` run without this package.

    Everything is written and tried in a hidden folder beside it, which is renamed at the end: a server that watches
    `output/name` never sees half a model, and an export that is killed leaves at most a `.tmp-*` folder behind. What
    is tried is what `verification.verify` says. Card, clients and the server's own files are written last.

    Args:
        servable: What is served.
        output: Folder of all models.
        name: The model's name, a folder's name.
        manifest: Goes into `manifest.json`, values of JSON only; `name`, `xla` and `endpoints` with their shapes and
            dtypes are added.

    Returns:
        The folder of the new version.

    Raises:
        RunError: A check failed, or the folder cannot be written. Nothing is left under a version's name.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise RunError(f"a model's name must be a plain folder name, not {name!r}")
    home = Path(output, name)
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".tmp-", dir=home))
    except OSError as error:
        raise RunError(f"cannot write {home}: {error.strerror}") from error
    try:
        with execution.one_shard():  # a server has other requests for the other cores
            content = _write(servable, draft, name, manifest)
        trial = Verification(draft)
        checks = trial.run()
        if failure := first_failure(checks):
            raise RunError(f"{name} is not exported, as the check {failure.name!r} fails: {failure.detail}")
        path = _publish(draft, home)
    except OSError as error:
        raise RunError(f"cannot write {home}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # already renamed if all went well
    for check in checks:
        if check.passed is None:
            print(f"{name}: the check {check.name!r} is {check.detail}", file=sys.stderr)
    # The first one is what a person can read.
    write_client_files(home / "client", name, *trial.requests[0], trial.answers[0])
    write_card(home, path.name, content)
    write_server_files(Path(output))
    return path


def _write(servable: Endpoints, draft: Path, name: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    # The functions, and not what was traced of them: that would be written a second time beside the functions.
    functions = {key: with_equal_rows(key, function) for key, function in servable.endpoints().items()}
    # A server needs no gradients, and those of a recurrent layer inside a decoding loop cannot be saved.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with execution.as_saved(options):
        traced = {key: function.get_concrete_function() for key, function in functions.items()}
    described = {key: describe(function, servable.units()) for key, function in traced.items()}
    for key, endpoint in described.items():
        check_rows_first(key, endpoint)
    tf.saved_model.save(servable, os.fspath(draft), signatures=functions, options=options)
    warmup.write(draft, name, servable.warmup())
    sizes = XLA_BATCH_SIZES if servable.xla else BATCH_SIZES
    write_batching(draft, sizes, described, servable.TAKES_PADDING)
    content = {**manifest, "name": name, "xla": servable.xla, "endpoints": described}
    (draft / "manifest.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sums.write(draft)
    draft.chmod(0o755)  # a temporary folder is closed to others, such as the server's user
    return content


def _publish(draft: Path, home: Path) -> Path:
    """Gives the folder the next version's number; where another export takes the number first, the one after it."""
    while True:
        numbers = [int(entry.name) for entry in home.iterdir() if entry.name.isascii() and entry.name.isdigit()]
        version = home / str(max(numbers, default=0) + 1)
        try:
            os.rename(draft, version)
            return version
        except OSError:
            if not version.exists():
                raise
