"""Where the controller's policies come from: the version in charge of the state directory, exchanged while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from agents.manifest import check_manifest
from agents.policy import Policy
from controller import policy_store as store
from controller.policy_host import PolicyHost, hosted
from controller.runner import host_policies, load_policies
from envs.spec import Role, SystemSpec

logger = logging.getLogger(__name__)


class PolicySource:
    """The policies in charge, checked and loaded, in a process of their own.

    Args:
        state_dir: of the controller; a first version must be in charge there, see `policy_store.use`.
        spec: that the policies were made for.
        hosted: whether they run in a process of their own.

    Raises:
        ArtifactError: the version in charge cannot be used.
        PolicyHostError: the process does not start.
    """

    def __init__(self, state_dir: str | Path, spec: SystemSpec, *, hosted: bool = True) -> None:
        self.state_dir, self.spec, self._hosted = Path(state_dir), spec, hosted
        self.problem: str | None = None
        """Why the version that an operator put in charge is not; None if it is."""
        self.version = store.current_version(state_dir) or ""
        self._host: PolicyHost | None = None
        self.policies: Mapping[Role, Policy] = {}
        self.policies, self._host = self._load(self.version)
        self._tried = self.version
        self._loading: threading.Thread | None = None
        self._loaded: tuple[str, dict[Role, Policy], PolicyHost | None] | None = None

    def poll(self) -> bool:
        """Whether another version is in charge since the last call. It is loaded beside the loop, which goes on."""
        if self._loading is not None:
            return self._take_over()
        wanted = store.current_version(self.state_dir)
        if wanted is not None and wanted != self._tried:
            self._tried = wanted
            self._loading = threading.Thread(target=self._prepare, args=(wanted,), daemon=True)
            self._loading.start()
        return False

    def wait(self) -> None:
        """Until nothing is being loaded."""
        if self._loading is not None:
            self._loading.join()

    def close(self) -> None:
        """End the process; may be called twice."""
        self.wait()
        self._take_over()
        if self._host is not None:
            self._host.close()
            self._host = None

    def _take_over(self) -> bool:
        if self._loading is None or self._loading.is_alive():
            return False
        self._loading.join()
        self._loading, loaded, self._loaded = None, self._loaded, None
        if loaded is None:
            return False
        former = self._host
        self.version, self.policies, self._host = loaded
        logger.info("policies %s are in charge", self.version)
        if former is not None:
            former.close()
        return True

    def _prepare(self, version: str) -> None:
        try:
            self._loaded = (version, *self._load(version))
            self.problem = None
        except (ValueError, RuntimeError, OSError) as error:  # ArtifactError, PolicyHostError: those in charge stay
            self.problem = f"policies {version} cannot be used, {self.version} stay: {error}"

    def _load(self, version: str) -> tuple[dict[Role, Policy], PolicyHost | None]:
        directory = store.directory_of(self.state_dir, version)
        check_manifest(directory, store.trusted_key(self.state_dir))
        policies = load_policies(directory, self.spec)
        host = host_policies(policies, directory, self.spec) if self._hosted else None
        if host is not None:
            policies |= hosted(host, policies)
        return policies, host
