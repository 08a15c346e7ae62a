"""A program that starts and kills processes all the time: what a monitor must live with.

Some 24 children live at a time. Of forty, 38 live for less than two seconds, two for 35 to 90 seconds, one of these as
a zombie at its end. Some run another program in their place, some have a child, some are killed and some end by
themselves. When the program is terminated it prints how many it has started.
"""

CHURN = """
import os, random, signal, subprocess, sys, time

random.seed(0)
started, running, stop = 0, [], False

def terminate(*_):
    global stop
    stop = True

signal.signal(signal.SIGTERM, terminate)
while not stop:
    while len(running) < 24:
        kind = random.randrange(40)
        seconds = random.uniform(0.1, 2.0) if kind < 38 else random.uniform(35.0, 90.0)
        child = subprocess.Popen(["sh", "-c", f"{'exec ' if kind % 2 else ''}sleep {seconds if kind % 3 else 60}"],
                                 start_new_session=True)
        running.append((child, time.monotonic() + seconds, kind == 39))
        started += 1
    now = time.monotonic()
    for entry in [entry for entry in running if now > entry[1]]:
        child, end, zombie = entry
        if zombie and now < end + 3.0:
            child.kill()
            continue
        os.killpg(child.pid, signal.SIGKILL) if child.poll() is None else None
        child.wait()
        running.remove(entry)
    time.sleep(0.05)
for child, _, _ in running:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
print(started, flush=True)
"""
