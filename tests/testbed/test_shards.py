import numpy as np
import pytest

from testbed import shards


def samples(count=5):
    rng = np.random.default_rng(0)
    times = np.arange(count, dtype=float)
    return shards.Samples(rng.random((count, 8, 8), dtype=np.float32), np.arange(count) % 10, times, times + 0.5)


def test_samples_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "1.parquet"
    written = samples()
    assert shards.write(path, written) == path.stat().st_size
    read = shards.read(path)
    for name in ("images", "labels", "stream_time", "sent_time"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_a_damaged_shard_is_refused_by_name(tmp_path, content):
    path = tmp_path / "1.parquet"
    path.write_bytes(content)
    with pytest.raises(shards.ShardError, match=r"1\.parquet"):
        shards.read(path)


def test_a_shard_with_nan_is_refused(tmp_path):
    bad = samples()
    bad.images[2, 3, 3] = np.nan
    shards.write(tmp_path / "1.parquet", bad)
    with pytest.raises(shards.ShardError, match="not finite"):
        shards.read(tmp_path / "1.parquet")


def test_every_shard_goes_to_one_loader_oldest_first(tmp_path):
    for name in ("2", "1", "3"):
        shards.write(tmp_path / f"{name}.parquet", samples())
    (tmp_path / ".4.parquet.77.tmp").write_bytes(b"half-written")
    queue = shards.ShardQueue(tmp_path)
    taken = [queue.take() for _ in range(4)]
    assert [path and path.stem for path in taken] == ["1", "2", "3", None]
    queue.done(taken[0])
    queue.done(taken[0])
    assert queue.take() is None


def test_old_shards_are_deleted_when_they_pile_up(tmp_path):
    for name in "12345":
        shards.write(tmp_path / f"{name}.parquet", samples())
    assert shards.delete_all_but(tmp_path, kept=2) == 3
    assert [path.stem for path in shards.published(tmp_path)] == ["4", "5"]
    assert shards.delete_all_but(tmp_path, kept=2) == 0
