"""Whatever bytes a weight file has: finite weights or one line, and no more memory than its length justifies."""

import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hostile import mutants

import ca_numpy
from ca_numpy import weights
from ca_numpy.errors import UserError
from ca_numpy.nn import Vgg16

#: Of each format; ten times as many in a thorough run.
MUTANTS = 600 if os.environ.get("HYPOTHESIS_PROFILE") == "intense" else 60
MODEL = mutants.MODEL


def guarded(read, path, *, times=20, small=3 << 20):
    """What `read(path)` returns, or None for a UserError of one line; its memory is a multiple of the file's."""
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.stem)]
    tracemalloc.start()
    try:
        result = read(path)
    except UserError as error:
        message, result = str(error), None
    else:
        message = ""
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert not message or (message.isprintable() and len(message) < 1500), message
    assert peak < times * sum(file.stat().st_size for file in files) + small
    return result


# ---- Files that claim much -----------------------------------------------------------------------------------


def alias_one_storage(t, path):
    tensor = t.tensor(t.storage("0", 10**5), 0, (10**5,), (1,))
    t.write(path, {f"coarse_generator.{i}": tensor for i in range(1000)}, {"0": bytes(4 * 10**5)})


def repeat_a_list_of_pairs(t, path):
    pairs = b"](" + b"".join(t.pickled((str(i), None)) for i in range(5000)) + b"e\x85q\x00"
    t.write(path, pairs + b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00R" * 5000, {})


def nest_long_names(t, path):
    name = t.pickled("n" * (1 << 20)) + b"q\x00"
    t.write(path, b"}" + name + b"}" + b"h\x00}" * 3000 + b"s" * 3001, {})


def share_a_long_prefix(t, path):
    tensor = t.tensor(t.storage("0", 1), 0, (1,), (1,))
    t.write(path, {"n" * 10**5: {str(i): tensor for i in range(1000)}}, {"0": bytes(4)})


def nest_tuples_as_a_class(t, path):
    t.write(path, b")" + b"\x85" * 10**5 + b")\x81", {})


ATTACKS = {
    alias_one_storage: "memory",
    repeat_a_list_of_pairs: "memory",
    nest_long_names: "memory",
    share_a_long_prefix: "memory",
    nest_tuples_as_a_class: "NEWOBJ",
}


@pytest.mark.parametrize(("attack", "word"), ATTACKS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_torch_files_that_claim_much_are_refused(torch_files, tmp_path, refused, attack, word):
    path = tmp_path / "a.pth"
    attack(torch_files, path)
    with refused(path, word):
        weights.read(path)
    assert guarded(weights.read, path, times=40) is None


def test_tensors_that_are_replaced_are_not_read(torch_files, tmp_path):
    t, path = torch_files, tmp_path / "a.pth"
    tensor = t.pickled(t.tensor(t.storage("0", 10**5), 0, (10**5,), (1,)))
    name = t.pickled("coarse_generator.conv1.conv.bias")
    t.write(path, b"}(" + name + tensor + b"q\x00u" + (b"(" + name + b"h\x00u") * 1000, {"0": bytes(4 * 10**5)})
    assert guarded(weights.read, path)["inpaint_net/conv1/bias"].shape == (10**5,)


def write_npy(path, header, data=b"", *, name="a.npy", method=zipfile.ZIP_STORED):
    start = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, start + data)


NPY = {
    "zeros": (b"{'descr': '|u1', 'fortran_order': False, 'shape': (50000000,), }\n", bytes(50_000_000), "memory"),
    "an absurd shape": (b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999,), }\n", b"1234", "shape"),
    "an absurd empty shape": (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999), }\n",
        b"",
        "",
    ),
    "many digits": (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 900 + b",), }\n",
        b"1234",
        "shape",
    ),
    "objects": (b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n", b"", "Python objects"),
    "an expression": (b"{'descr': __import__('os'), 'fortran_order': False, 'shape': (), }\n", b"", "Python objects"),
    "a deep header": (b"(" * 60_000 + b"\n", b"", "not an array"),
}


@pytest.mark.parametrize(("header", "data", "word"), NPY.values(), ids=NPY)
def test_npz_members_that_claim_much_or_are_no_arrays_are_refused(tmp_path, refused, header, data, word):
    path = tmp_path / "a.npz"
    write_npy(path, header, data, method=zipfile.ZIP_DEFLATED)
    with refused(path, word):
        weights.read(path)
    assert guarded(weights.read, path) is None


def test_npz_members_compressed_in_unknown_ways_or_without_a_header_are_refused(tmp_path, refused):
    path = tmp_path / "a.npz"
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        write_npy(path, b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", b"1234", method=method)
        with refused(path, "compressed"):
            weights.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("text.npy", "hello")
    with refused(path, "'text.npy' is not an array"):
        weights.read(path)


def test_a_pipe_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "vgg.npz")
    for path in (tmp_path / "vgg.npz", tmp_path, tmp_path / "none.npz"):
        with pytest.raises(UserError):
            Vgg16.load(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "?", "<i8", "<U3", "<c8", "<f2"])
def test_npz_arrays_are_those_of_numpy(tmp_path, dtype, order):
    arrays = {
        "a": np.arange(6).reshape(2, 3).astype(dtype, order=order),
        "b": np.array(1).astype(dtype),
        "c": np.ones((0, 2), dtype),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with np.load(tmp_path / "a.npz") as expected:
        back = weights.read(tmp_path / "a.npz")
        for name in arrays:
            np.testing.assert_array_equal(back[name], expected[name])
            assert back[name].dtype == np.dtype(dtype).newbyteorder("=")
            assert back[name].flags.writeable


def test_tensorflow_files_that_claim_much_are_refused(bundles, tmp_path, refused):
    index, data = tmp_path / "m.index", tmp_path / "m.data-00000-of-00001"
    data.write_bytes(bytes(40_000))
    crc = bundles.masked(bytes(40_000))
    entry = bundles.Entry(shape=(10_000,), size=40_000, crc=crc).encode()
    many = [bundles.header(), *((f"inpaint_net/{i:04d}".encode(), entry) for i in range(500))]
    index.write_bytes(bundles.table(many, per_block=100))
    with refused(data, "memory"):  # all at the same place
        weights.read(tmp_path / "m")
    index.write_bytes(bundles.table(many, per_block=501, repeats=3000))
    with refused(index, "memory"):
        weights.read(tmp_path / "m")
    long = [bundles.header(), *((b"k" * 20_000 + f"{i:04d}".encode(), b"") for i in range(2000))]
    index.write_bytes(bundles.table(long, per_block=2001, restart_interval=10**6))
    with refused(index, "memory"):
        weights.read(tmp_path / "m")
    dims = b"".join(b"\x12\x0a\x08" + b"\xff" * 8 + b"\x7f" for _ in range(5000))
    index.write_bytes(bundles.table([bundles.header(), (b"v", b"\x12" + bytes([0xD8, 0xA5, 0x03]) + dims[:54_000])]))
    with refused(index, ""):
        weights.read(tmp_path / "m")
    for path in (index,):
        assert guarded(weights.read, path, times=60) is None


def test_a_width_that_the_file_does_not_hold_takes_no_memory(tmp_path, refused):
    path = tmp_path / "a.safetensors"
    weights.write(path, MODEL | {"inpaint_net/conv1/kernel": np.zeros((1, 1, 5, 20_000), np.float32)})
    assert guarded(ca_numpy.load, path) is None
    with pytest.raises(UserError, match="width 20000"):
        ca_numpy.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ["inpaint_net/conv1/bias", "inpaint_net/allconv17/kernel"])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, name):
    arrays = {key: array.astype(np.float64) for key, array in MODEL.items()}
    arrays[name].flat[0] = value
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=rf"a\.npz.*'{name}' holds NaN, infinity"):
        ca_numpy.load(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_any_precision_compute_in_float32_unless_asked(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", **{name: array.astype(dtype) for name, array in MODEL.items()})
    for asked in ("float32", "float64"):
        loaded = ca_numpy.load(tmp_path / "a.npz", **({"dtype": asked} if asked == "float64" else {})).arrays()
        for name, array in MODEL.items():
            np.testing.assert_array_equal(loaded[name], array.astype(dtype).astype(asked), strict=True)


# ---- Mutants -------------------------------------------------------------------------------------------------

KINDS = {name: kind for name, kind in mutants.KINDS.items() if kind.read is mutants.read_weights}
#: A TensorFlow checkpoint's other file, every checksum of which is verified.
DATA = "tensorflow.data-00000-of-00001"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS, DATA])
def test_a_mutated_file_is_finite_weights_or_one_line(tmp_path, name):
    kind = mutants.KINDS["tensorflow.index"]._replace(mutate=mutants.changed) if name == DATA else KINDS[name]
    rng = np.random.default_rng(len(name))
    path = tmp_path / name
    kind.write(path)
    whole = path.read_bytes()
    right = guarded(ca_numpy.load, path).arrays()
    loaded = 0
    for _ in range(MUTANTS // 6 if name == DATA else MUTANTS):
        path.write_bytes(kind.mutate(rng, whole))
        model = guarded(ca_numpy.load, path)
        if model is not None:
            loaded += 1
            assert all(np.isfinite(array).all() for array in model.arrays().values())
            if name == "weights.safetensors":  # which has a checksum
                assert all(np.array_equal(array, right[key]) for key, array in model.arrays().items())
    assert loaded < MUTANTS
