import json

import numpy as np
import pytest
import torch

from testbed import checkpoints
from testbed.files import write_atomically
from testbed.model import DigitNetwork, Trainer


@pytest.fixture(scope="module")
def network():
    return DigitNetwork()


def publish(directory, network, version=1, momentum=None):
    checkpoint = checkpoints.Checkpoint(version, checkpoints.file_name(version), trained_timestamp=5.0, samples=10)
    checkpoints.publish(directory, checkpoint, network, momentum)
    return checkpoint


def test_a_published_network_comes_back_unchanged(tmp_path, network):
    published = publish(tmp_path, network)
    assert checkpoints.newest(tmp_path) == published
    loaded = checkpoints.load_weights(tmp_path, published)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)


def test_momentum_comes_back_for_the_trainer(tmp_path):
    trainer = Trainer(DigitNetwork())
    rng = np.random.default_rng(0)
    trainer.step(rng.random((4, 8, 8), dtype=np.float32), np.arange(4))
    published = publish(tmp_path, trainer.network, momentum=trainer.momentum())
    restored = Trainer(checkpoints.load_weights(tmp_path, published))
    restored.restore_momentum(checkpoints.load_momentum(tmp_path, published))
    torch.testing.assert_close(restored.momentum()["out.bias"], trainer.momentum()["out.bias"])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x80\x04K\x01."])
def test_a_damaged_checkpoint_is_refused(tmp_path, network, content):
    published = publish(tmp_path, network)
    (tmp_path / published.file).write_bytes(content)
    with pytest.raises(checkpoints.CheckpointError, match=published.file):
        checkpoints.load_weights(tmp_path, published)


def test_a_checkpoint_cut_short_is_refused_and_the_one_before_is_found(tmp_path, network):
    publish(tmp_path, network, version=1)
    second = publish(tmp_path, network, version=2)
    whole = (tmp_path / second.file).read_bytes()
    (tmp_path / second.file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(checkpoints.CheckpointError):
        checkpoints.load_weights(tmp_path, second)
    found = checkpoints.newest_loadable(tmp_path)
    assert found.file == checkpoints.file_name(1)
    assert found.version == 2


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b'{"version": 1}', json.dumps({"unknown": 1}).encode()])
def test_a_manifest_that_is_not_whole_is_refused(tmp_path, manifest):
    (tmp_path / checkpoints.MANIFEST).write_bytes(manifest)
    with pytest.raises(checkpoints.CheckpointError, match="manifest"):
        checkpoints.newest(tmp_path)


def test_only_the_last_three_checkpoints_are_kept(tmp_path, network):
    for version in range(1, 6):
        publish(tmp_path, network, version=version)
    assert [path.name for path in sorted(tmp_path.glob("*.npz"))] == [checkpoints.file_name(v) for v in (3, 4, 5)]


def test_a_write_that_fails_leaves_the_old_content_and_no_trace(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half of the new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
