import subprocess
import sys

import pytest

HEAVY = ["torch", "stable_baselines3", "scipy", "matplotlib", "pandas", "sklearn", "pyarrow", "gymnasium"]
HEAVY += ["starlette", "uvicorn"]  # of the HTTP face, a process of its own


@pytest.mark.parametrize("module", ["controller.loop", "controller.runner", "controller.commands"])
def test_controller_starts_without_heavy_libraries(module):
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
