from __future__ import annotations

from controller.config import ControllerConfig
from controller.config_file import parse_config
from controller.config_template import template
from envs.spec import SystemSpec


def test_the_template_is_a_valid_file_that_says_the_defaults(spec: SystemSpec) -> None:
    text = template()
    assert parse_config(text.encode(), spec) == ControllerConfig()
    assert "\n[shield]\n" in text
    assert "# Shortest time between two changes of one workload" in text


def test_its_examples_are_valid_as_well(spec: SystemSpec) -> None:
    assert parse_config(template().replace("# serving_cpu", "serving_cpu").encode(), spec).bounds
