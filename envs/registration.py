"""Makes the environments known to Gymnasium, which has had no plug-in entry points since 1.0: importing this registers.

`gymnasium.make("envs.registration:trimtab/Allocation-v1")` does both in one.
"""

from __future__ import annotations

import gymnasium

ENVIRONMENTS = {
    "trimtab/Allocation-v1": {"task": "allocation", "spec": "reference"},
    "trimtab/Tuning-v1": {"task": "tuning", "spec": "reference"},
    "trimtab/Joint-v1": {"task": "joint", "spec": "reference"},
    "trimtab/HostAllocation-v1": {"task": "allocation", "spec": "host"},
    "trimtab/PoolAllocation-v1": {"task": "allocation", "spec": "pool"},
}
"""Id -> the arguments that make it: the reference host, the same with limits on all its resources, a pool of hosts."""


def register_environments() -> None:
    """Register all of `ENVIRONMENTS`; a second call changes nothing."""
    for name, arguments in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(
                id=name,
                entry_point="envs.learning_system:LearningSystemEnv",
                vector_entry_point="envs.learning_system:LearningSystemVectorEnv",
                kwargs=arguments,
            )


register_environments()
