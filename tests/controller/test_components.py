import json
import os
import subprocess

import pytest

from controller.components import Components, process_tree
from telemetry.collectors.targets import process_start


def test_directory_is_read_again_when_it_changes(tmp_path):
    path = tmp_path / "testbed.json"
    path.write_text(json.dumps({"serving": {"url": "http://a/", "pid": os.getpid()}}))
    components = Components(path)
    assert components.read()["serving"].url == "http://a"
    path.write_text(json.dumps({"serving": {"url": "http://b", "pid": os.getpid()}}))
    os.utime(path, ns=(1, 1))
    assert components.read()["serving"].url == "http://b"


@pytest.mark.parametrize("content", ["", "[", "[]", '{"serving": 1}', '{"serving": {"pid": 3}}'])
def test_broken_directory_leaves_the_former_one_in_force(tmp_path, content):
    path = tmp_path / "testbed.json"
    path.write_text(json.dumps({"serving": {"url": "http://a", "pid": os.getpid()}}))
    components = Components(path)
    components.read()
    path.write_text(content)
    os.utime(path, ns=(1, 1))
    assert components.read()["serving"].url == "http://a"


def test_missing_directory_has_no_components(tmp_path):
    assert Components(tmp_path / "none.json").read() == {}


def test_process_that_ended_has_no_start():
    process = subprocess.Popen(["true"])
    process.wait()
    assert process_start(process.pid) == 0
    assert process_tree(process.pid) == []
    assert process_start(os.getpid()) > 0
