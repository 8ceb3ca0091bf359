"""TensorFlow checkpoints: read exactly, and refused in one line when anything does not add up."""

import base64
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ca_numpy.weights import crc32c, tf_bundle

# Written by TensorFlow 2.21 (tf.raw_ops.SaveV2, MergeV2Checkpoints), compressed with zlib.
REAL = {
    "index": "eNpjYGDjYJJi4mBkUBJPySxOLsrMzcxLLMkv0k/JLy2Jz8lPTsyJT0vWz04tykvN4RAW4hBi4mABYkYJRgUeDQ5TpQ"
    "V/5Rm4edNz8pOAKotLUgs4OIUYFBKAUruvzxdkEBPMzCtIzMwric9LLdFPzs8rM9RPykws5mAUAhnDLMGowWOq/355"
    "lBCbNNQSRiEBkAVAzATFzBoGpmWXhfkkWGX1HVMSc7EpUTAAKko3ElnPAASMIEIw4/07OOfAp4UbGBiZsxhuM8LFPB"
    "RNeR8wcrxl5GcgCMJ/N3SrlLrfBgAdqzvU",
    "data-00000-of-00002": "eNpjYAADOwaGBiA+AMQM9gwMCkDsAMQJQNwAxBOAeAEQbwBiAUdSMDvEfAYAiUwK5g==",
    "data-00001-of-00002": "eNpjYGjYzwAGDfZAwobBgcEJAB8oAr0=",
}


@pytest.mark.parametrize(
    ("data", "crc"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
     (bytes(range(32)), 0x46DD794E)],
)  # fmt: skip
def test_crc32c_has_the_values_of_rfc_3720(data, crc):
    assert crc32c.crc32c(data) == crc


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_crc32c_is_the_textbooks_loop_at_every_length(bundles, data):
    assert crc32c.crc32c(data) == bundles.slow_crc32c(data)
    assert crc32c.masked_crc32c(data) == bundles.masked(data)


def test_crc32c_of_a_generator_takes_less_than_a_few_seconds():
    data = np.random.default_rng(0).bytes(14_406_168)
    start = time.perf_counter()
    first = crc32c.crc32c(data)
    assert time.perf_counter() - start < 5
    assert first != crc32c.crc32c(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_checkpoint_written_by_tensorflow_is_read_exactly(tmp_path):
    for part, text in REAL.items():
        (tmp_path / f"snap-0.{part}").write_bytes(zlib.decompress(base64.b64decode(text)))
    tensors = tf_bundle.read(tmp_path / "snap-0")
    expected = {
        "inpaint_net/conv1/kernel": np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3) / 8,
        "inpaint_net/conv1/bias": np.array([-1, 0, 1], np.float32),
        "inpaint_net/conv1/kernel/Adam": np.full((1, 2, 2, 3), 9, np.float32),
        "discriminator/dout_local_fc/kernel": np.arange(4, dtype=np.float16).reshape(4, 1),
        "global_step": np.array(7, np.int64),
    }
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array, strict=True)


DTYPES = [
    "float16", "float32", "float64", "complex64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(
    [
        "inpaint_net/conv1/kernel",
        "inpaint_net/conv1/bias",
        "inpaint_net/conv10_atrous/kernel",
        "inpaint_net/conv1",
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    tensors=st.dictionaries(NAMES, ARRAYS, max_size=9),
    shards=st.integers(1, 3),
    per_block=st.integers(1, 10),
    restart_interval=st.integers(1, 17),
)
def test_every_bundle_comes_back_bit_by_bit(bundles, tensors, shards, per_block, restart_interval):
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "model.ckpt-7"
        bundles.write(prefix, tensors, shards=shards, per_block=per_block, restart_interval=restart_interval)
        back = tf_bundle.read(prefix)
    assert back.keys() == tensors.keys()
    for name, array in tensors.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()
        assert back[name].flags.writeable


def test_bfloat16_becomes_the_same_float32(bundles, tmp_path):
    bundles.write(tmp_path / "m", {"x": (14, np.array([0x3FC0, 0xC010, 0x7F80], np.uint16))})
    np.testing.assert_array_equal(tf_bundle.read(tmp_path / "m")["x"], np.float32([1.5, -2.25, np.inf]), strict=True)


def test_only_the_shards_of_the_wanted_tensors_are_needed(bundles, tmp_path):
    bundles.write(tmp_path / "m", {"a": np.float32([1]), "b": np.float32([2])}, shards=2)
    (tmp_path / "m.data-00001-of-00002").unlink()
    assert tf_bundle.read(tmp_path / "m", ["a"])["a"] == 1


def test_what_is_missing_is_named(bundles, tmp_path, refused):
    with refused(tmp_path / "m.index", "No such file"):
        tf_bundle.read(tmp_path / "m")
    bundles.write(tmp_path / "m", {"a": np.float32([1])})
    with refused(tmp_path / "m.index", "'b'"):
        tf_bundle.read(tmp_path / "m", ["b"])
    (tmp_path / "m.data-00000-of-00001").unlink()
    with refused(tmp_path / "m.data-00000-of-00001", "No such file", "m.index"):
        tf_bundle.read(tmp_path / "m")


@settings(deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_byte_of_an_index_never_changes_what_is_read(bundles, attempt, position, flip):
    tensors = {"inpaint_net/a": np.float32([1, 2]), "inpaint_net/b": np.int64(3), "c": np.zeros((0, 2))}
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "m"
        bundles.write(prefix, tensors)
        index = Path(f"{prefix}.index")
        data = bytearray(index.read_bytes())
        damaged = int(position * len(data))
        data[damaged] ^= flip
        index.write_bytes(data)
        back = attempt(tf_bundle.read, prefix)
        if back is not None:  # some bytes mean nothing: the footer's padding, the unused meta-index block
            assert damaged > 60
            assert {name: array.tobytes() for name, array in back.items()} == {
                name: array.tobytes() for name, array in tensors.items()
            }


@settings(deadline=None)
@given(keep=st.floats(0, 1, exclude_max=True))
def test_a_truncated_index_is_refused(bundles, refused, keep):
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "m"
        bundles.write(prefix, {"a": np.float32([1, 2]), "b": np.int64(3)})
        index = Path(f"{prefix}.index")
        data = index.read_bytes()
        index.write_bytes(data[: int(keep * len(data))])
        with refused(index, "truncated"):
            tf_bundle.read(prefix)


def test_damaged_and_truncated_shards_are_refused(bundles, tmp_path, refused):
    bundles.write(tmp_path / "m", {"a": np.float32([1, 2]), "b": np.float32([3])})
    shard = tmp_path / "m.data-00000-of-00001"
    data = shard.read_bytes()
    shard.write_bytes(data[:5] + b"!" + data[6:])
    with refused(shard, "'a'", "checksum"):
        tf_bundle.read(tmp_path / "m")
    shard.write_bytes(data[:-1])
    with refused(shard, "'b'", "truncated"):
        tf_bundle.read(tmp_path / "m")


@pytest.mark.parametrize(("compression", "word"), [(1, "Snappy"), (2, "method 2")])
def test_compressed_tables_are_refused(bundles, tmp_path, refused, compression, word):
    bundles.write(tmp_path / "m", {"a": np.float32([1])}, compression=compression)
    with refused(tmp_path / "m.index", word, "not supported"):
        tf_bundle.read_index(tmp_path / "m")


def write_entries(bundles, folder, *entries, **header):
    pairs = [bundles.header(**header), *((f"v{i}".encode(), e) for i, e in enumerate(entries))]
    (folder / "m.index").write_bytes(bundles.table(pairs))
    (folder / "m.data-00000-of-00001").write_bytes(bytes(8))


HOSTILE = {
    "a tensor larger than the file": ({"shape": (2**40,), "size": 2**42}, "truncated"),
    "an offset beyond the file": ({"size": 4, "offset": 2**62}, "truncated"),
    "a shape whose product overflows to 0": ({"shape": (2**32, 2**32), "size": 0}, "does not take 0 bytes"),
    "a negative dimension": ({"shape": (2**64 - 1,), "size": 4}, "does not take 4 bytes"),
    "an empty tensor with absurd dimensions": ({"shape": (0, 2**63), "size": 0, "crc": None}, "shape"),
    "a string tensor": ({"dtype": 7}, "data type 7"),
    "a reference type": ({"dtype": 101}, "data type 101"),
    "slices": ({"rest": b"\x3a\x00"}, "slices"),
    "a wrong checksum": ({"crc": 1}, "checksum"),
}


@pytest.mark.parametrize(("fields", "word"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_entries_are_refused(bundles, tmp_path, refused, fields, word):
    if "crc" in fields and fields["crc"] is None:
        fields = fields | {"crc": bundles.masked(b"")}
    write_entries(bundles, tmp_path, bundles.Entry(**fields).encode())
    with refused(tmp_path / "m.data-00000-of-00001", "'v0'", word):
        tf_bundle.read(tmp_path / "m")


MALFORMED = {
    "a shard that does not exist": (b"\x18\x05", "shard 5 of 1"),
    "a message cut short": (b"\x12\x20\x01", "beyond"),
    "a number without end": (b"\x08" + b"\xff" * 11, "64 bits"),
    "an unknown wire type": (b"\x0b", "wire type"),
    "a message where a number belongs": (b"\x0a\x01\x01", "number"),
    "a number where a message belongs": (b"\x10\x01", "message"),
    "too many dimensions": (b"\x12\x82\x01" + b"\x12\x00" * 65, "dimensions"),
}


@pytest.mark.parametrize(("entry", "word"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_entries_are_refused(bundles, tmp_path, refused, entry, word):
    write_entries(bundles, tmp_path, entry)
    with refused(tmp_path / "m.index", word):
        tf_bundle.read_index(tmp_path / "m")


MALFORMED_BLOCKS = {
    "no room for the number of restarts": (b"\0\0\0", "too short"),
    "more restarts than bytes": (b"\0\0\0\0\xff\xff\xff\x7f", "restart points"),
    "a key that shares with nothing": (b"\x05\x01\x00v" + bytes(4) + b"\1\0\0\0", "shares more bytes"),
    "a value cut short": (b"\x00\x01\x09v" + bytes(4) + b"\1\0\0\0", "beyond its block"),
}


@pytest.mark.parametrize(("contents", "word"), MALFORMED_BLOCKS.values(), ids=MALFORMED_BLOCKS)
def test_malformed_blocks_with_valid_checksums_are_refused(bundles, tmp_path, refused, contents, word):
    (tmp_path / "m.index").write_bytes(bundles.table([bundles.header()], raw_block=contents))
    with refused(tmp_path / "m.index", word):
        tf_bundle.read_index(tmp_path / "m")


def test_headers_are_required_and_little_endian(bundles, tmp_path, refused):
    write_entries(bundles, tmp_path, endianness=1)
    with refused(tmp_path / "m.index", "big-endian"):
        tf_bundle.read_index(tmp_path / "m")
    (tmp_path / "m.index").write_bytes(bundles.table([(b"v", bundles.Entry().encode())]))
    with refused(tmp_path / "m.index", "header"):
        tf_bundle.read_index(tmp_path / "m")


@settings(max_examples=150, deadline=None)
@given(contents=st.binary(max_size=60), entry=st.binary(max_size=30))
def test_arbitrary_contents_with_valid_checksums_are_read_or_refused(bundles, attempt, contents, entry):
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "m.index"
        for data in (
            bundles.table([bundles.header()], raw_block=contents),
            bundles.table([bundles.header(), (b"v", entry)]),
        ):
            index.write_bytes(data)
            assert attempt(tf_bundle.read, Path(folder) / "m") in (None, {})
