"""Makes the environment known to Gymnasium, which has had no plug-in entry points since 1.0: importing this registers.

`gymnasium.make("envs.registration:trimtab/LearningSystem-v0")` does both in one.
"""

from __future__ import annotations

import gymnasium

ID = "trimtab/LearningSystem-v0"


def register_environments() -> None:
    """Register `trimtab/LearningSystem-v0`; a second call changes nothing."""
    if ID in gymnasium.registry:
        return
    gymnasium.register(
        id=ID,
        entry_point="envs.learning_system:LearningSystemEnv",
        vector_entry_point="envs.learning_system:LearningSystemVectorEnv",
    )


register_environments()
