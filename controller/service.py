"""`trimtab control run` as a process of its own that loads the controller and no command line.

    python -P -m controller.service OPTIONS

OPTIONS are a `ServiceOptions` as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from controller.lean import leave_out_openssl, run_as_program


@dataclass(frozen=True)
class ServiceOptions:
    """What `trimtab control run` was asked to do; its help tells what each means."""

    components: str
    spec: str
    mode: str
    state_dir: str
    policy: str | None
    config: str | None
    trust: str | None
    probation: float
    policy_process: bool


def run_service(options: ServiceOptions) -> None:
    """Control until Ctrl-C or SIGTERM.

    Raises:
        SpecError, ConfigError, ArtifactError: what was given cannot be used.
        PolicyHostError, PlantError, JournalError, GuardError: see `run_controller`.
    """
    from controller import policy_store  # here, since they import `hashlib`: see `main`
    from controller.config_file import ConfigFile
    from controller.operation import Operation
    from controller.policy_source import PolicySource
    from controller.runner import run_controller
    from envs.spec import SystemSpec

    spec, state_dir = SystemSpec.load(options.spec), Path(options.state_dir)
    file = None if options.config is None else ConfigFile(options.config, spec)
    state_dir.mkdir(parents=True, exist_ok=True)
    if options.trust is not None:
        policy_store.trust(state_dir, Path(options.trust))
    policy_store.use(state_dir, options.policy or policy_store.current_version(state_dir) or "shipped", spec)
    with closing(PolicySource(state_dir, spec, hosted=options.policy_process)) as source:
        operation = Operation(file, source, options.probation)
        run_controller(spec, options.components, source.policies, state_dir, mode=options.mode, operation=operation)


def main() -> None:
    """The service, with the options as JSON in the first argument."""
    leave_out_openssl()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    run_as_program(lambda: run_service(ServiceOptions(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
