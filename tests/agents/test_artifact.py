import hashlib
import json
import pickle
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from agents.artifact import SIZE_LIMIT, ArtifactError, load, load_shipped, read_card, save
from agents.network import MlpPolicy
from envs.spec import Role


@pytest.fixture
def policy(allocation):
    rng = np.random.default_rng(1)
    sizes = (allocation.n_observation, 16, allocation.n_action)
    return MlpPolicy([(rng.normal(size=(o, i)) / 4, rng.normal(size=o)) for i, o in pairwise(sizes)])


@pytest.fixture
def artifact(tmp_path, policy, allocation) -> Path:
    save(tmp_path / "policy", policy, allocation, {"seeds": [3], "scores": {"reward": 0.5}})
    return tmp_path / "policy"


def rewrite_arrays(artifact: Path, **changed: np.ndarray) -> None:
    """Replace arrays and make the hash fit again, as somebody would who tampers well."""
    with np.load(artifact / "policy.npz") as archive:
        arrays = {name: archive[name] for name in archive.files} | changed
    np.savez(artifact / "policy.npz", **arrays)
    rehash(artifact)


def edit(artifact: Path, **changed: object) -> None:
    meaning = read_card(artifact) | changed
    (artifact / "policy.json").write_text(json.dumps(meaning))


def test_a_loaded_policy_acts_as_the_saved_one(artifact, policy, spec, allocation):
    loaded = load(artifact, spec, Role.ALLOCATION)
    observations = np.random.default_rng(2).uniform(-1, 1, (10, allocation.n_observation))
    np.testing.assert_array_equal(loaded.act(observations), policy.act(observations))
    assert loaded.name == policy.name


def test_the_card_names_what_a_reader_looks_for(artifact, spec):
    card = (artifact / "card.md").read_text()
    for text in (spec.fingerprint, "serving_cpu_cores", "reward", "sha256"):
        assert text in card


def test_saving_twice_gives_the_same_bytes(artifact, policy, allocation):
    before = (artifact / "policy.npz").read_bytes()
    save(artifact, policy, allocation, {})
    assert (artifact / "policy.npz").read_bytes() == before


def test_a_flipped_bit_is_noticed(artifact, spec):
    content = bytearray((artifact / "policy.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (artifact / "policy.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match="sha256"):
        load(artifact, spec, Role.ALLOCATION)


def test_another_fingerprint_is_refused_with_both_shown_in_one_line(artifact, spec):
    other = spec.model_copy(update={"window_periods": 7})
    with pytest.raises(ArtifactError) as refused:
        load(artifact, other, Role.ALLOCATION)
    message = str(refused.value)
    assert spec.fingerprint in message
    assert other.fingerprint in message
    assert "\n" not in message


def test_the_policy_of_another_role_is_refused(artifact, spec):
    with pytest.raises(ArtifactError, match="role 'allocation'"):
        load(artifact, spec, Role.TUNING)


def test_weights_that_are_not_finite_are_refused(artifact, spec, allocation):
    rewrite_arrays(artifact, bias_1=np.full(allocation.n_action, np.nan, dtype=np.float32))
    with pytest.raises(ArtifactError, match="not finite"):
        load(artifact, spec, Role.ALLOCATION)


def test_changed_weights_do_not_give_the_golden_actions(artifact, spec, allocation):
    rewrite_arrays(artifact, bias_1=np.zeros(allocation.n_action, dtype=np.float32))
    with pytest.raises(ArtifactError, match="golden"):
        load(artifact, spec, Role.ALLOCATION)


def test_wrong_shapes_are_refused(artifact, spec):
    rewrite_arrays(artifact, weight_0=np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(ArtifactError, match="weight_0"):
        load(artifact, spec, Role.ALLOCATION)


def test_a_pickle_is_never_opened(artifact, spec, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    rewrite_arrays(artifact, weight_0=np.array([Bomb()], dtype=object))
    with pytest.raises(ArtifactError, match=r"policy\.npz"):
        load(artifact, spec, Role.ALLOCATION)
    (artifact / "policy.npz").write_bytes(pickle.dumps(Bomb()))
    rehash(artifact)
    with pytest.raises(ArtifactError, match=r"policy\.npz"):
        load(artifact, spec, Role.ALLOCATION)
    assert not (tmp_path / "exploded").exists()


def rehash(artifact: Path) -> None:
    edit(artifact, sha256=hashlib.sha256((artifact / "policy.npz").read_bytes()).hexdigest())


def test_an_archive_that_unpacks_beyond_the_limit_is_not_unpacked(artifact, spec):
    with zipfile.ZipFile(artifact / "policy.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weight_0.npy", bytes(SIZE_LIMIT + 1))
    rehash(artifact)
    with pytest.raises(ArtifactError, match="unpacks to"):
        load(artifact, spec, Role.ALLOCATION)


@pytest.mark.parametrize("name", ["policy.npz", "policy.json"])
def test_a_truncated_file_is_refused(artifact, spec, name):
    content = (artifact / name).read_bytes()
    (artifact / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError):
        load(artifact, spec, Role.ALLOCATION)
    if name == "policy.npz":
        rehash(artifact)
        with pytest.raises(ArtifactError, match="cannot be read"):
            load(artifact, spec, Role.ALLOCATION)


@pytest.mark.parametrize("missing", ["policy.npz", "policy.json"])
def test_a_missing_file_is_named(artifact, spec, missing):
    (artifact / missing).unlink()
    with pytest.raises(ArtifactError, match=missing):
        load(artifact, spec, Role.ALLOCATION)


@pytest.mark.parametrize("layers", [[], [1], "64", [0, 3], [None, 3]])
def test_layers_that_are_no_list_of_widths_are_refused(artifact, spec, layers):
    edit(artifact, layers=layers)
    with pytest.raises(ArtifactError, match="layers"):
        load(artifact, spec, Role.ALLOCATION)


def test_json_that_is_no_object_is_refused(artifact, spec):
    (artifact / "policy.json").write_text("[1, 2]")
    with pytest.raises(ArtifactError, match="object"):
        load(artifact, spec, Role.ALLOCATION)


def test_a_policy_that_does_not_fit_the_task_is_not_saved(tmp_path, policy, tuning):
    with pytest.raises(ArtifactError, match="tuning task needs"):
        save(tmp_path, policy, tuning, {})


def test_a_spec_without_shipped_policy_gets_an_artifact_error(spec):
    with pytest.raises(ArtifactError):
        load_shipped(Role.ALLOCATION, spec.model_copy(update={"window_periods": 9}))
