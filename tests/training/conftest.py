import pytest

from envs.spec import SystemSpec


@pytest.fixture(scope="session")
def spec() -> SystemSpec:
    return SystemSpec.load("reference")
