"""What the READMEs type at a shell: the requests are ones that the shipped models take, and curl gets answers."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from server_process import Server

ROOT = Path(__file__).parents[2]
READMES = (ROOT / "README.md", ROOT / "rnnapps" / "server" / "README.md")


def commands(path: Path) -> list[str]:
    """The curl commands of a README, with the variable that they use put in."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
    url = dict(re.findall(r"^(URL)=(\S+)$", text, re.MULTILINE)).get("URL", "")
    lines = text.replace("\\\n", " ").splitlines()
    return [line.replace("$URL", url) for line in lines if line.startswith("curl ")]


ALL = [command for path in READMES for command in commands(path)]


def asked(command: str) -> tuple[dict, str]:
    """The body of a command and its address."""
    words = shlex.split(command, comments=True)
    return json.loads(words[words.index("-d") + 1]), words[-1]


@pytest.mark.parametrize("command", [command for command in ALL if " -d " in command])
def test_a_request_is_one_that_the_shipped_model_takes(command):
    body, address = asked(command)
    name = re.search(r"/v1/models/(\w+)", address)[1]
    versions = sorted((ROOT / "saved_models" / name).glob("[0-9]*"), key=lambda path: int(path.name))
    endpoints = json.loads((versions[-1] / "manifest.json").read_text(encoding="utf-8"))["endpoints"]
    inputs = set(endpoints[body.get("signature_name", "serving_default")]["inputs"])
    given = body["instances"][0] if "instances" in body else body.get("inputs", body)
    assert set(given) == inputs
    assert not re.search(r"/versions/\d", address), "the next export has another version"


@pytest.mark.full  # the test above is its quick twin
def test_curl_gets_an_answer_to_each(tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    shutil.copytree(ROOT / "saved_models" / "shakespeare", tmp_path / "models" / "shakespeare")
    with Server(tmp_path / "models") as server:
        assert len(ALL) > 6
        for command in ALL:
            here = command.replace("localhost:8501", f"127.0.0.1:{server.port}").replace("curl ", "curl -fsS ", 1)
            done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0 and done.stdout, (command, done.stderr)
