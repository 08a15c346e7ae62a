import os
import signal
import subprocess
import sys
import time

import pytest

from telemetry.processes import process_tree


@pytest.fixture
def child():
    """A sleeping shell with a sleeping child of its own."""
    process = subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60"], start_new_session=True)
    while len(process_tree(process.pid)) < 3:
        time.sleep(0.005)  # until the shell has forked; nothing is timed here
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def run_python():
    """Starts Python processes that say when they are ready, and ends them."""
    started = []

    def run(script, *command):
        process = subprocess.Popen(
            [*command, sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline().strip() == "ready"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()
