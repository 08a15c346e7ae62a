"""The fixtures are shared with the safety tests."""

from controlled import (
    allocator,
    controller,
    fallback,
    journal,
    make_component,
    make_controller,
    plant,
    policy,
    spec,
    system,
)

__all__ = [
    "allocator",
    "controller",
    "fallback",
    "journal",
    "make_component",
    "make_controller",
    "plant",
    "policy",
    "spec",
    "system",
]
