"""`read` takes every supported file, whatever its name; `write` is atomic and deterministic to the byte."""

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ca_numpy import weights
from ca_numpy.errors import UserError

KERNEL = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
OURS = {"inpaint_net/conv1/kernel": KERNEL, "inpaint_net/conv1/bias": np.arange(4, dtype=np.float32)}
PORT = {
    "coarse_generator.conv1.conv.weight": KERNEL.transpose(3, 2, 0, 1),
    "coarse_generator.conv1.conv.bias": OURS["inpaint_net/conv1/bias"],
}


def same(back, arrays=OURS):
    assert list(back) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, strict=True)
    return True


# ---- Reading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00000-of-00002", ".data-00001-of-00002"])
def test_a_tensorflow_checkpoint_is_read_by_any_of_its_names(bundles, tmp_path, ending):
    extra = {"inpaint_net/conv1/kernel/Adam": KERNEL, "inpaint_net/conv1/kernel/Adam_1": KERNEL,
             "beta1_power": np.float32(0.5), "global_step": np.int64(9)}  # fmt: skip
    bundles.write(tmp_path / "snap-0.5", OURS | extra, shards=2)
    (tmp_path / "snap-0.5.meta").write_bytes(b"graph")
    assert same(weights.read(f"{tmp_path}/snap-0.5{ending}"))
    assert same(weights.read(tmp_path))
    assert weights.read_metadata(tmp_path / "snap-0.5") == {}


def test_tensors_that_are_not_wanted_are_not_even_read(bundles, tmp_path):
    bundles.write(tmp_path / "m", {"inpaint_net/a/bias": KERNEL, "inpaint_net/a/bias/Adam": KERNEL}, shards=2)
    (tmp_path / "m.data-00001-of-00002").unlink()
    assert same(weights.read(tmp_path / "m"), {"inpaint_net/a/bias": KERNEL})


@pytest.mark.parametrize("name", ["w.npz", "w.pth", "w.pt", "w.ckpt", "w.safetensors", "weights"])
@pytest.mark.parametrize("kind", ["npz", "torch", "safetensors"])
def test_the_contents_decide_not_the_suffix(torch_files, tmp_path, kind, name):
    path = tmp_path / name
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **OURS)
    elif kind == "torch":
        torch_files.write_state(path, PORT, wrap=lambda state: {"netG": state, "epoch": 3})
    else:
        safetensors.numpy.save_file(OURS, path)
    assert same(weights.read(path))
    assert same(weights.read(str(path)))


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_ports_names_are_translated_in_every_format_and_others_kept(tmp_path, kind):
    for stored, expected in [(PORT, OURS), ({"step": np.int64(3), "x/y": KERNEL},) * 2]:
        path = tmp_path / f"w.{kind}"
        if kind == "npz":
            np.savez_compressed(path, **stored)
        else:
            weights.write(path, stored)
        assert same(weights.read(path), expected)


def test_the_origin_of_a_file_is_told_from_its_names(bundles, torch_files, tmp_path, refused):
    bundles.write(tmp_path / "snap-0", OURS)
    torch_files.write_state(tmp_path / "a.pth", {f"module.{name}": array for name, array in PORT.items()})
    torch_files.write_state(tmp_path / "b.pth", {"stage_1.up.out.8.conv.0.bias": np.ones(3)})
    torch_files.write_state(tmp_path / "c.pth", {"encoder.bias": np.ones(3)})
    weights.write(tmp_path / "d.safetensors", OURS)
    names = ["snap-0", "a.pth", "b.pth", "c.pth", "d.safetensors"]
    assert [weights.origin(tmp_path / name) for name in names] == [
        "authors",
        "daa233",
        "fgvc",
        None,
        "authors",
    ]
    with refused(tmp_path / "none"):
        weights.origin(tmp_path / "none")


def test_a_file_comes_before_a_prefix_of_the_same_name(bundles, tmp_path):
    bundles.write(tmp_path / "m.safetensors", {"inpaint_net/x/bias": KERNEL})
    weights.write(tmp_path / "m.safetensors", OURS)
    assert same(weights.read(tmp_path / "m.safetensors"))


def test_a_folder_must_hold_exactly_one_checkpoint(tmp_path, refused):
    with refused(tmp_path, "found: nothing"):
        weights.read(tmp_path)
    (tmp_path / "notes.txt").write_text("?")
    with refused(tmp_path, "found: notes.txt"):
        weights.read(tmp_path)
    weights.write(tmp_path / "b.safetensors", OURS)
    assert same(weights.read(tmp_path))
    weights.write(tmp_path / "a.safetensors", OURS)
    with refused(tmp_path, "a.safetensors, b.safetensors", "give one"):
        weights.read(tmp_path)


UNREADABLE = {
    "w.pth": (b"\x80\x04K\x01.", "pickle"),
    "w.pt": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "before seeing STOP"),
    "w.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "supported are .safetensors, .npz"),
    "w.txt": (b"hello", "unknown format"),
    "w.npz": (b"PK\x03\x04 and no more", "truncated"),
    "w.zip": (b"PK\x05\x06" + bytes(18), "neither NumPy nor PyTorch"),
    "w.index": (b"not a table", "truncated"),
    "w.safetensors": (b"\x10\0\0\0", "safetensors"),
    "w.bin": (b"", "empty"),
    "model.ckpt": (bytes(60) + bytes.fromhex("57fb808b247547db"), "V1 checkpoint"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_other_files_are_refused_with_what_is_supported(tmp_path, refused, name):
    contents, words = UNREADABLE[name]
    (tmp_path / name).write_bytes(contents)
    with refused(tmp_path / name, words):
        weights.read(tmp_path / name)
    if name not in ("w.index", "w.pt"):  # whose metadata is none
        with refused(tmp_path / name, words):
            weights.read_metadata(tmp_path / name)


def test_what_is_not_there_is_named(tmp_path, refused):
    with refused(tmp_path / "snap-0", "snap-0.index"):
        weights.read(tmp_path / "snap-0")
    (tmp_path / "snap-0.data-00000-of-00001").write_bytes(b"lonely")
    with refused(tmp_path / "snap-0.data-00000-of-00001", "nor snap-0.index"):
        weights.read(tmp_path / "snap-0.data-00000-of-00001")
    with refused(tmp_path / "a.safetensors", "check the path"):
        weights.read_metadata(tmp_path / "a.safetensors")


def test_the_checkpoint_of_another_network_is_refused(bundles, torch_files, tmp_path, refused):
    bundles.write(tmp_path / "m", {"encoder/kernel": KERNEL})
    with refused(tmp_path / "m.index", "none of its 1 variables"):
        weights.read(tmp_path / "m")
    torch_files.write_state(tmp_path / "a.pth", {"encoder.weight": KERNEL})
    with refused(tmp_path / "a.pth", "'encoder.weight'"):
        weights.read(tmp_path / "a.pth")


def test_an_npz_file_with_objects_or_damage_is_refused(tmp_path, refused):
    path = tmp_path / "w.npz"
    np.savez(path, a=np.array([{}], object))
    with refused(path, "'a.npy'", "Python objects"):
        weights.read(path)
    np.savez_compressed(path, a=np.arange(1000))
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data)
    with refused(path, "npz"):
        weights.read(path)


# ---- Writing -----------------------------------------------------------------------------------------------

DTYPES = [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", ">f4", ">i8",
]  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
ARRAYS = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
# A port's names would be translated.
NAMES = TEXT.filter(lambda name: name != "__metadata__" and weights.naming([name]) in (None, "authors"))


@settings(deadline=None)
@given(
    arrays=st.dictionaries(NAMES, ARRAYS, max_size=6),
    metadata=st.dictionaries(TEXT, TEXT, max_size=4),
    data=st.data(),
)
def test_arrays_and_metadata_round_trip_and_equal_input_gives_equal_bytes(arrays, metadata, data):
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "a.safetensors", Path(folder) / "b.safetensors"
        weights.write(path, arrays, metadata=metadata)
        back = weights.read(path)
        assert list(back) == sorted(arrays)
        for name, array in arrays.items():
            assert back[name].dtype == array.dtype.newbyteorder("=")
            assert back[name].shape == array.shape
            assert back[name].tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()
        assert weights.read_metadata(path) == metadata
        shuffled = dict(data.draw(st.permutations(list(arrays.items()))))
        reordered = {name: np.asfortranarray(a) if a.ndim else a for name, a in shuffled.items()}
        weights.write(other, reordered, metadata=dict(data.draw(st.permutations(list(metadata.items())))))
        assert path.read_bytes() == other.read_bytes()
        assert sorted(os.listdir(folder)) == ["a.safetensors", "b.safetensors"]


CHECKSUM = hashlib.sha256(
    b'["a", "U8", []]'
    + bytes([7])
    + b'["b", "F32", [2]]'
    + struct.pack("<2f", 1, 2)
    + b'[["y", "\\u00fc"], ["z", "1"]]'
).hexdigest()


def test_the_bytes_are_those_of_the_format(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.write(path, {"b": np.float32([1, 2]), "a": np.uint8(7)}, metadata={"z": "1", "y": "ü"})
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length]) == {
        "__metadata__": {"sha256": CHECKSUM, "y": "ü", "z": "1"},
        "a": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [1, 9]},
    }
    assert data[8 + length :] == struct.pack("<B2f", 7, 1, 2)
    with safetensors.safe_open(path, "numpy") as file:
        assert file.get_tensor("b").tolist() == [1, 2]


def test_the_bytes_do_not_depend_on_the_process(tmp_path):
    code = "import sys, numpy, ca_numpy.weights as w; w.write(sys.argv[1], dict.fromkeys(sys.argv[2], numpy.ones(2)), metadata={k: k for k in sys.argv[2]})"  # noqa: E501
    files = [tmp_path / f"{seed}.safetensors" for seed in "12"]
    for seed, file in zip("12", files, strict=True):
        subprocess.run(
            [sys.executable, "-c", code, file, "qwertyuiop"],
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
    assert files[0].read_bytes() == files[1].read_bytes()


def test_writing_replaces_and_leaves_ordinary_permissions(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.write(path, {"old": KERNEL})
    weights.write(path, OURS)
    assert same(weights.read(path))
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, refused, failing, error):
    path = tmp_path / "w.safetensors"
    weights.write(path, OURS)
    before = path.read_bytes()

    def fail(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fail)
        if isinstance(error, OSError):
            with refused(path, "No space left on device"):
                weights.write(path, {"x": KERNEL})
        else:
            with pytest.raises(KeyboardInterrupt):
                weights.write(path, {"x": KERNEL})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize(
    ("arrays", "metadata", "words"),
    [
        ({"a": KERNEL, "b": np.array([{}], object)}, None, "'b' has dtype object"),
        ({"a": np.ones(2, complex)}, None, "complex128"),
        ({"a": np.array(["text"])}, None, "'a' has dtype <U4"),
        ({"__metadata__": KERNEL}, None, "reserved"),
        ({"a": KERNEL}, {"sha256": "0"}, "reserved"),
        ({1: KERNEL}, None, "must be text"),
        ({"a": KERNEL}, {"epoch": 3}, "str()"),
        ({"a": KERNEL}, {3: "x"}, "str()"),
        ({"\ud800": KERNEL}, None, "Unicode"),
    ],
)
def test_what_the_format_has_not_is_refused_before_anything_is_written(tmp_path, refused, arrays, metadata, words):
    path = tmp_path / "w.safetensors"
    with refused(path, words):
        weights.write(path, arrays, metadata=metadata)
    assert os.listdir(tmp_path) == []


def test_impossible_places_are_refused(tmp_path, refused):
    with refused(tmp_path / "w.npz", "suffix"):
        weights.write(tmp_path / "w.npz", OURS)
    with refused(tmp_path / "none" / "w.safetensors", "No such file"):
        weights.write(tmp_path / "none" / "w.safetensors", OURS)
    (tmp_path / "file").touch()
    with refused(tmp_path / "file" / "w.safetensors", "Not a directory"):
        weights.write(tmp_path / "file" / "w.safetensors", OURS)
    (tmp_path / "w.safetensors").mkdir()
    with refused(tmp_path / "w.safetensors", "directory"):
        weights.write(tmp_path / "w.safetensors", OURS)
    assert sorted(os.listdir(tmp_path)) == ["file", "w.safetensors"]


@settings(deadline=None)
@given(keep=st.floats(0, 1, exclude_max=True))
def test_a_truncated_safetensors_file_is_refused(keep):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        weights.write(path, OURS, metadata={"a": "b"})
        data = path.read_bytes()
        path.write_bytes(data[: int(keep * len(data))])
        for reader in (weights.read, weights.read_metadata):
            with pytest.raises(UserError, match=re.escape(str(path))) as caught:
                reader(path)
            assert str(caught.value).isprintable()


def write_raw(path, data, *, dtype, shape, **metadata):
    table = {"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    header = json.dumps(table | ({"__metadata__": metadata} if metadata else {})).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def test_number_formats_without_numpy_counterpart_are_refused(tmp_path, refused):
    path = tmp_path / "w.safetensors"
    write_raw(path, bytes(1), dtype="F8_E4M3", shape=[1])
    with refused(path, "'F8_E4M3'", "float32"):
        weights.read(path)


@given(hnp.arrays(np.uint16, 6))
def test_bfloat16_becomes_the_float32_of_the_same_value(words):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        write_raw(path, words.astype("<u2").tobytes(), dtype="BF16", shape=[2, 3])
        x = weights.read(path)["x"]
    sign, exponent, fraction = words >> 15, (words >> 7 & 255).astype(int), words & 127  # as the format is defined
    value = np.where(exponent, 128 + fraction, 2 * fraction) * 2.0 ** (exponent - 134.0)
    value[exponent == 255] = np.inf
    value[(exponent == 255) & (fraction > 0)] = np.nan
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.ravel(), np.where(sign, -value, value))


def test_a_checksum_is_verified_and_files_without_one_load(tmp_path, refused):
    path = tmp_path / "w.safetensors"
    weights.write(path, OURS, metadata={"variant": "1.0"})
    for old, new in [(b"variant", b"varient"), (b'"1.0"', b'"1.5"'), (b"conv1/bias", b"conv2/bias"), (b"@@", b"@A")]:
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, 1))
        with refused(path, "checksum"):
            weights.read(path)
        path.write_bytes(data)
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    safetensors.numpy.save_file(tensors, path, metadata=metadata)  # another order, the same contents
    assert same(weights.read(path))
    tensors["inpaint_net/conv1/bias"] += 1
    safetensors.numpy.save_file(tensors, path, metadata=metadata)
    with refused(path, "'sha256'"):
        weights.read(path)
    safetensors.numpy.save_file(tensors, path)
    assert same(weights.read(path), tensors)
