import json
import os
import subprocess

import pytest

from controller.components import Components, apart
from telemetry.processes import process_start, process_tree


def test_directory_is_read_again_when_it_changes(tmp_path):
    path = tmp_path / "testbed.json"
    path.write_text(json.dumps({"serving": {"url": "http://a/", "pid": os.getpid()}}))
    components = Components(path)
    assert components.read()["serving"].url == "http://a"
    path.write_text(json.dumps({"serving": {"url": "http://b", "pid": os.getpid()}}))
    os.utime(path, ns=(1, 1))
    assert components.read()["serving"].url == "http://b"


@pytest.mark.parametrize(
    "content",
    [
        "", "[", "[]", '{"serving": 1}', '{"serving": {"pid": 3}}', '{"serving": {"replicas": []}}',
        '{"serving": {"replicas": [{"pid": 3}]}}', '{"serving": {"replicas": [{"url": "http://b"}], "ready_share": 2}}',
        '{"serving": {"replicas": [{"url": "http://b"}], "canaries": 1}}',
    ],
)  # fmt: skip
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


def test_replicas_are_components_of_one_with_names_of_their_own():
    entry = {"replicas": [{"url": "http://a/", "pid": os.getpid()}, {"url": "http://b"}], "ready_share": 1}
    components = Components({"serving": entry, "load": {"url": "http://c"}}).read()
    serving = components["serving"]
    assert (serving.url, serving.pid, serving.ready_share, serving.canaries) == ("http://a", 0, 1.0, 1)
    assert [(one.name, one.url) for one in serving.replicas] == [("serving-0", "http://a"), ("serving-1", "http://b")]
    assert serving.replicas[0].start == process_start(os.getpid())
    assert list(apart(components)) == ["serving-0", "serving-1", "load"]
