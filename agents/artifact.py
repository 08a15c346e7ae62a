"""A policy on disk: weights as npz, meaning as JSON, a card for people. Loading one never runs code.

| file | holds |
|---|---|
| `policy.npz` | `weight_i`, `bias_i` of each layer, `golden_observation` and the `golden_action` that answers it |
| | `guard_*`: what tells observations unlike those of training (`agents.novelty`); older artifacts have none |
| `policy.json` | role, spec fingerprint, labels, layer sizes, sha256 of the npz, and how the policy was trained |
| `card.md` | the same for people, rendered from `policy.json` |
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import platform
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from agents.network import MlpPolicy
from agents.novelty import PREFIX, NoveltyGuard, stored_guard
from envs.spec import Role, SystemSpec
from envs.task import Task
from telemetry.drift import GuardError

FORMAT = 1
SIZE_LIMIT = 16 * 2**20
"""Bytes, packed and unpacked. A (64, 64) policy takes 50 KiB; anything near the limit is not one of ours."""
GOLDEN_TOLERANCE = 1e-5
"""Largest difference of a golden action between machines: float32 sums in another order differ by about 1e-7."""
_GOLDEN_ROWS = 16


class ArtifactError(ValueError):
    """A policy artifact that must not be used; one line."""


def save(directory: Path, policy: MlpPolicy, task: Task, card: dict[str, Any]) -> None:
    """Write the three files of an artifact.

    Args:
        directory: made if missing; an artifact in it is replaced.
        policy: its first layer takes the task's observation, its last gives the task's action.
        task: what the policy was trained for.
        card: JSON-able: `training` (configuration), `seeds`, `scores`, and whatever a reader of the card should know.

    Raises:
        ArtifactError: the policy does not fit the task.
    """
    _check_sizes(policy.sizes, task)
    golden = np.random.default_rng(0).uniform(-1.0, 1.0, (_GOLDEN_ROWS, task.n_observation)).astype(np.float32)
    arrays = {"golden_observation": golden, "golden_action": policy.act(golden)}
    for i, (weight, bias) in enumerate(policy.layers):
        arrays |= {f"weight_{i}": weight, f"bias_{i}": bias}
    if policy.guard is not None:
        arrays |= policy.guard.arrays()
    packed = _pack(arrays)
    meaning = {
        "format": FORMAT,
        "name": policy.name,
        "role": task.name,
        "spec": task.spec.name,
        "fingerprint": task.spec.fingerprint,
        "layers": list(policy.sizes),
        "sha256": hashlib.sha256(packed).hexdigest(),
        **card,
        "versions": _versions(),
        "observation": list(task.labels),
        "action": list(task.action_labels),
    }
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, packed, meaning)


def attach_guard(directory: Path, guard: NoveltyGuard, about: Mapping[str, Any]) -> None:
    """Put a guard into an artifact, in place of one that it has; all else stays, the versions that trained it too.

    Args:
        directory: of the artifact.
        guard: fitted to what its policy sees.
        about: JSON-able; what the card says of the guard.

    Raises:
        ArtifactError: there is no artifact that can be read.
    """
    arrays, meaning = _unpack(_read(directory / "policy.npz")), read_card(directory)
    packed = _pack({name: array for name, array in arrays.items() if not name.startswith(PREFIX)} | guard.arrays())
    meaning |= {"sha256": hashlib.sha256(packed).hexdigest(), "guard": dict(about)}
    # What a reader of the file must scroll past comes last.
    last = {key: meaning.pop(key) for key in ("versions", "observation", "action") if key in meaning}
    _write(directory, packed, meaning | last)


def load(directory: Path, spec: SystemSpec, role: Role | str) -> MlpPolicy:
    """Read an artifact and check that it is whole, ours, and made for this spec and role.

    Raises:
        ArtifactError: missing or damaged file, other fingerprint (both are shown), other role or labels, weights that
            are not finite, or a network that no longer gives its golden actions.
    """
    task = Task(spec, role)
    packed = _read(directory / "policy.npz")
    meaning = read_card(directory)
    _check_meaning(meaning, task)
    digest = hashlib.sha256(packed).hexdigest()
    if digest != meaning["sha256"]:
        raise ArtifactError(
            f"policy.npz has sha256 {digest[:16]}..., its policy.json says {str(meaning['sha256'])[:16]}...: "
            "the files do not belong together or are damaged"
        )
    arrays = _unpack(packed)
    policy = _network(arrays, [int(size) for size in meaning["layers"]], str(meaning["name"]))
    _check_sizes(policy.sizes, task)
    _check_golden(policy, arrays)
    try:
        policy.guard = stored_guard(arrays, task.n_observation)
    except GuardError as error:
        raise ArtifactError(f"policy.npz: {error}") from None
    return policy


def load_shipped(role: Role | str, spec: SystemSpec) -> MlpPolicy:
    """The policy that comes with Trimtab for `role`.

    Raises:
        ArtifactError: none is shipped, or it was made for another spec.
    """
    return load(shipped_directory(role), spec, role)


def shipped_directory(role: Role | str) -> Path:
    """Where the shipped artifact of `role` lies, whether or not it exists."""
    # `models` holds no Python; importlib.resources cannot read such a folder in an editable install (Python 3.11).
    folders = [Path(entry) for entry in import_module("models").__path__ if Path(entry).is_dir()]
    return folders[0] / str(Role(role))


def read_card(directory: Path) -> dict[str, Any]:
    """`policy.json` as a dictionary, unchecked but for being an object.

    Raises:
        ArtifactError: missing, too large, or not a JSON object.
    """
    try:
        meaning = json.loads(_read(directory / "policy.json"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"policy.json is not valid JSON: {error}") from None
    if not isinstance(meaning, dict):
        raise ArtifactError(f"policy.json must hold an object, it holds a {type(meaning).__name__}")
    return meaning


def render_card(meaning: dict[str, Any]) -> str:
    """The model card: every entry of `policy.json`, long lists shortened."""
    lines = [f"# {meaning['name']}: {meaning['role']} policy for {meaning['spec']}", ""]
    lines += [
        f"Chooses {', '.join(meaning['action'])} from {len(meaning['observation'])} inputs (see `policy.json`).",
        f"Loads only with a spec of fingerprint `{meaning['fingerprint']}`.",
        "",
    ]
    for key, entry in meaning.items():
        if key in ("observation", "action", "name", "spec"):
            continue
        if isinstance(entry, dict):
            lines += [f"## {key.capitalize()}", "", "| | |", "|---|---|"]
            lines += [f"| {name} | {value} |" for name, value in entry.items()] + [""]
        else:
            lines += [f"**{key}**: {entry}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    return packed.getvalue()


def _write(directory: Path, packed: bytes, meaning: dict[str, Any]) -> None:
    (directory / "policy.npz").write_bytes(packed)
    (directory / "policy.json").write_text(json.dumps(meaning, indent=2) + "\n")
    (directory / "card.md").write_text(render_card(meaning))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ArtifactError(f"cannot read {file.name} of the policy: {error}") from None
    if len(content) > SIZE_LIMIT:
        raise ArtifactError(f"{file.name} is larger than {SIZE_LIMIT} bytes; a policy is much smaller")
    return content


def _check_meaning(meaning: dict[str, Any], task: Task) -> None:
    needed = ("format", "name", "role", "fingerprint", "layers", "sha256", "observation", "action")
    missing = [key for key in needed if key not in meaning]
    if missing:
        raise ArtifactError(f"policy.json lacks {', '.join(missing)}")
    expected = {
        "format": FORMAT,
        "fingerprint": task.spec.fingerprint,
        "role": task.name,
        "observation": list(task.labels),
        "action": list(task.action_labels),
    }
    for key, wanted in expected.items():
        if meaning[key] != wanted:
            shown = "other labels" if isinstance(wanted, list) else f"{key} {meaning[key]!r}"
            needs = "this spec's" if isinstance(wanted, list) else repr(wanted)
            raise ArtifactError(f"the policy was made for {shown}, needed is {needs}; train one for this spec")
    layers = meaning["layers"]
    if not (isinstance(layers, list) and len(layers) >= 2 and all(isinstance(n, int) and n > 0 for n in layers)):
        raise ArtifactError(f"policy.json: layers must list at least two positive widths, given {layers!r}")


def _unpack(packed: bytes) -> dict[str, np.ndarray]:
    """Arrays of the npz; never unpickles, and never unpacks more than `SIZE_LIMIT`."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > SIZE_LIMIT:
            raise ArtifactError(f"policy.npz unpacks to {unpacked} bytes, allowed are {SIZE_LIMIT}")
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"policy.npz cannot be read: {error}") from None


def _network(arrays: dict[str, np.ndarray], sizes: list[int], name: str) -> MlpPolicy:
    layers = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        weight, bias = arrays.get(f"weight_{i}"), arrays.get(f"bias_{i}")
        if weight is None or bias is None:
            raise ArtifactError(f"policy.npz lacks layer {i}, policy.json lists {len(sizes) - 1}")
        if weight.dtype != np.float32 or weight.shape != (n_out, n_in):
            raise ArtifactError(
                f"weight_{i} is {weight.dtype} of shape {weight.shape}, policy.json says float32 of {(n_out, n_in)}"
            )
        layers.append((weight, bias))
    try:
        return MlpPolicy(layers, name)
    except ValueError as error:
        raise ArtifactError(f"policy.npz: {error}") from None


def _check_sizes(sizes: tuple[int, ...], task: Task) -> None:
    if (sizes[0], sizes[-1]) != (task.n_observation, task.n_action):
        raise ArtifactError(
            f"the network maps {sizes[0]} inputs to {sizes[-1]} actions, "
            f"the {task.name} task needs {task.n_observation} to {task.n_action}"
        )


def _check_golden(policy: MlpPolicy, arrays: dict[str, np.ndarray]) -> None:
    observation, expected = arrays.get("golden_observation"), arrays.get("golden_action")
    if observation is None or expected is None or observation.shape[1:] != (policy.sizes[0],) or not len(observation):
        raise ArtifactError("policy.npz lacks its golden observations and actions")
    action = policy.act(observation)
    if action.shape != expected.shape or not np.allclose(action, expected, rtol=0.0, atol=GOLDEN_TOLERANCE):
        raise ArtifactError("the network does not give its golden actions: the weights are not the trained ones")


def _versions() -> dict[str, str]:
    """Versions that made the policy."""
    from importlib.metadata import PackageNotFoundError, version  # with email, 2 MiB that only a trainer needs

    found = {"python": platform.python_version()}
    for package in ("trimtab", "numpy", "torch", "stable-baselines3", "gymnasium"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
