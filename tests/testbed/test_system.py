"""The real testbed: four processes, real requests. Takes about half a minute."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testbed.launcher import Testbed

pytestmark = pytest.mark.system


def fetch(url, body=None, method="GET"):
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(url):
    families = text_string_to_metric_families(fetch(f"{url}/metrics")[1])
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def testbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("testbed")
    with Testbed(directory / "state", log_dir=directory / "logs") as started:
        started.wait_ready(120)
        for name, knob in (("serving", "serving_threads"), ("training", "training_threads")):
            assert fetch(f"{started.url(name)}/knobs", {knob: 1}, "PATCH")[0] == 200
        yield started


def test_every_request_of_a_replay_is_accounted_for_at_both_ends(testbed):
    load, serving = testbed.url("load"), testbed.url("serving")
    replay = {"step_seconds": 1.0, "requests_per_second": [40] * 4, "events_per_second": [80] * 4, "seed": 1}
    assert fetch(f"{load}/replay", replay, "POST")[0] == 200
    outcomes = ("ok", "rejected", "timeout", "error")
    finished = lambda: sum(metrics(load)[("load_responses_total", outcome)] for outcome in outcomes)  # noqa: E731
    sent = lambda: metrics(load)[("load_requests_sent_total",)]  # noqa: E731
    wait_until(lambda: metrics(load)[("load_replay_position_ratio",)] == 1.0 and finished() == sent())
    measured = metrics(load)
    assert sent() > 100
    assert measured[("load_answered_total",)] == measured[("load_responses_total", "ok")]
    assert measured[("load_latency_seconds_count",)] == sent()
    assert measured[("load_correct_total",)] > 0.3 * measured[("load_answered_total",)]
    served = metrics(serving)
    assert served[("serving_requests_total",)] == served[("serving_latency_seconds_count",)]


def test_labelled_events_reach_training_as_often_as_they_may_be_used(testbed):
    load, ingest, training = testbed.url("load"), testbed.url("ingest"), testbed.url("training")
    fetch(f"{training}/knobs", {"training_threads": 1}, "PATCH")  # two are 20 times slower on a busy machine
    batch, uses = 32, 3
    sent = metrics(load)[("load_events_sent_total",)]
    wait_until(lambda: metrics(ingest)[("ingest_events_written_total",)] == sent)
    wait_until(lambda: metrics(training)[("training_demand_samples_total",)] == uses * sent)
    # Fewer samples than a batch are left in the end, with up to all their uses.
    wait_until(lambda: metrics(training)[("training_backlog_samples",)] < batch * uses, seconds=90.0)
    assert not list((testbed.state_dir / "shards").glob("*.parquet"))


@pytest.mark.parametrize(
    ("name", "knob", "value"),
    [
        ("serving", "serving_batch_size", 65),
        ("training", "training_checkpoint_interval_seconds", 1.0),
        ("ingest", "ingest_chunk_events", 8.5),
    ],
)
def test_a_knob_out_of_range_is_refused_and_nothing_changes(testbed, name, knob, value):
    url = f"{testbed.url(name)}/knobs"
    before = fetch(url)
    status, body = fetch(url, {knob: value}, "PATCH")
    assert status == 422
    assert knob in json.loads(body)["error"]
    assert fetch(url) == before


def test_a_component_that_crashes_starts_again_on_its_port(testbed):
    component = testbed.components["ingest"]
    first = component.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: testbed.poll() == ["ingest"])
    testbed.wait_ready(60)
    assert component.restarts == 1
    directory = json.loads((testbed.state_dir / "testbed.json").read_text())
    assert directory["ingest"] == {"url": component.url, "pid": component.pid}
    assert component.pid != first


def heed_interrupts():
    """Jobs in the background of a shell inherit that SIGINT is ignored; so would the child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_behind_however_the_launcher_ends(testbed, tmp_path, number):
    # The models are there already, so the second testbed need not be prepared again.
    (tmp_path / "digits.npz").symlink_to(testbed.state_dir / "digits.npz")
    (tmp_path / "models").symlink_to(testbed.state_dir / "models")
    launcher = subprocess.Popen(
        [sys.executable, "-m", "testbed.launcher", "--state-dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )
    try:
        wait_until((tmp_path / "testbed.json").exists)
        pids = [entry["pid"] for entry in json.loads((tmp_path / "testbed.json").read_text()).values()]
        assert len(pids) == 4
        launcher.send_signal(number)
        launcher.wait(15)
        wait_until(lambda: not any(running(pid) for pid in pids), seconds=10)
    finally:
        launcher.kill()
        launcher.wait()


def test_training_goes_back_to_its_mark_and_publishes_that_model(testbed):
    training, serving = testbed.url("training"), testbed.url("serving")
    assert fetch(f"{training}/mark", {}, "POST")[0] == 200
    version = metrics(serving)[("serving_model_version",)]
    assert fetch(f"{training}/rewind", {}, "POST")[0] == 200
    wait_until(lambda: metrics(serving)[("serving_model_version",)] > version)
