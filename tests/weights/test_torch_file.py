"""PyTorch checkpoints: tensors are read exactly, all else is refused in one line, and nothing is ever run."""

import base64
import io
import os
import pickle
import struct
import tempfile
import zipfile
import zlib
from argparse import Namespace
from collections import Counter
from datetime import datetime
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca_numpy.weights import torch_file

# Written by torch 2.13 (torch.save of a nested dict with a module's state dict), compressed with zlib.
REAL = (
    "eNqlVd9v21QUvokTt3XTjm5dy9YyNn560Kax0yQtaMvwkCdktGUBJAsJZW7ixRau3RPfdAIpUiQUAU8gQOKJaTzuDfHCI32CV3jn"
    "YYIXEA/7F3bvtZPa7o9o25VOHMfn+853js85qWlcBqHJSXTgzKDTqO05rbWWgY38zseOqsyhD5Onn+4BEnXCgVwTX4NUs+k5jtnE"
    "tuf6wo1Oy+yYrbftJhYgfbEOnKjPEdem5+5KefqZv2PabQtDpom9TtPKN7rYdnyh0TG3urbTamDT9b1OY1cWICuK+gQB+8TTaJvA"
    "BxBBdTwDvxf8KMCEniI+BZjUORpopwtTWg6DcFNDosZpaS2lpTFMi1qGfCd3GHJfWlTaDIbZOpzQT8T1bdmGD89YJLjFWwG5BHPW"
    "lMZhOElINW4Ap7TUAOYDmtMYFuqw2O3Bs/oUcW5sm9igJYQz7PlZUafVhaUeLLN0ds2OT4oFz2kpX88Og8O5Hjxvsd+EmCA434ML"
    "7EHX32L+5o7XtOAFjWN3HQObPrz4EbwkXqueLf/9//LV1etfmOwNWYZzG14OcgmLp7DqSeVR/V5hKcrwKkmRFEqkKaYHcJGm+FqQ"
    "4usYVuqwqvNMmNPddiEfI33Xc9sjwjVGWIQCIeQxSDfpGxiATAtXDAjXMZTqUO7ma9rE5P3W9zeupxGiVjuyO+dRIejO/G2vs23g"
    "RlhGVVk52KTHHImG/OXhX59RkdSODrmI3ghDhh3YMBy77W6bLlaV8mNF3T/ldSqgegf+I+mi9LECZpESCNj6BJseHS1VufyEcYfH"
    "sTF2TKphcOmfM/SN8sdqmEZv7W+FtYKqXHo6ASHtZYT6xPaIoSpC54ldIXaLWJ/Y18TuEfupSpV60q1ugQ75GKWLEaWSqpxCh8bv"
    "/xr49xn3+91/P8+Ru9wY7jcj3LKqVJ60CnvVB3/QuF/9/O09OqKZMXGvRuIWVaX6lK9/WH/W+ijsQHq48JoJr9nwSrXmfv/tx/H1"
    "z6GFQOtoMk8eIrYoUMY/77Y/GN//S6gUDiBL3zc7NpnATw36X9OwW6oiPX41pEKlslGWK/JmZXNzo7QuleVSgZq8LhfKZblYqhCH"
    "DbYmNuvuOyLRITKVKVaqoc7o1po5oDz2P5qERrfPfAx2N40OXXJJhuj6WIwxzHHoqJ2VJInO/2yM5JshyWjvJLHRiZyOYRcyKLov"
    "ksDouMWBezGglARG5yUOXM5GgXISGG3eOPC7GLCYBEZ7NBcDXuFRrNOTyGjfLMUrO0Qe3tE1jedXQtdz3OoIJiSuZji1GxPDIeXZ"
    "tx+m9oe7pmX5ACMw/8D3EY52H20="
)


def test_a_checkpoint_written_by_torch_is_read_exactly(tmp_path):
    path = tmp_path / "real.pth"
    path.write_bytes(zlib.decompress(base64.b64decode(REAL)))
    expected = {
        "netG.conv1.conv.weight": np.arange(12, dtype=np.float32).reshape(3, 2, 1, 2) / 8,
        "netG.conv1.conv.bias": np.array([-1, 0, 1], np.float32),
        "half": np.array([1.5, -1.75 * 2**34], np.float32),  # bfloat16, of 1.5 and -3e10
        "column": np.array([1, 4], np.int64),  # a view with strides
    }
    tensors = torch_file.read(path)
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)
        assert tensors[name].flags.c_contiguous
        assert tensors[name].flags.writeable


# ---- Where torch is installed ------------------------------------------------------------------------------


def test_state_dicts_of_every_protocol_and_dtype_agree_with_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.BatchNorm2d(4), torch.nn.Linear(3, 1))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(2, 3, 9, 7)).sum().backward()
    optimizer.step()
    x = torch.arange(24).reshape(2, 3, 4)
    odd = {
        "transposed": x.permute(2, 0, 1),
        "sliced": x[:, 1, 1:],
        "scalar": torch.tensor(2.5),
        "empty": x[:0],
    }
    kinds = ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"]
    saved = {
        "net": module.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "kinds": {kind: x.to(getattr(torch, kind)) for kind in kinds},
        "optim": optimizer.state_dict(),
        "epoch": 3,
        **odd,
    }
    for protocol in (2, 3, 4, 5):
        torch.save(saved, tmp_path / "a.pth", pickle_protocol=protocol)
        tensors = torch_file.read(tmp_path / "a.pth")
        pairs = [(f"net.{name}", value) for name, value in saved["net"].items()]
        pairs += [(f"kinds.{kind}", value) for kind, value in saved["kinds"].items()]
        pairs += [(name, saved[name].detach()) for name in (*odd, "parameter")]
        for name, value in pairs:
            np.testing.assert_array_equal(tensors[name], value.numpy(), strict=True)


def test_what_is_no_state_dict_is_refused_by_name(tmp_path, refused):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    path = tmp_path / "a.pth"
    for saved, word in [
        (torch.nn.Linear(2, 2), "'torch.nn.modules.linear.Linear'"),
        ({"a": torch.nn.Linear(2, 2)}, "'torch.nn.modules.linear.Linear'"),
        ({"a": torch.zeros(1).expand(5)}, "stride (0,)"),
        ([torch.zeros(1)], "list"),
    ]:
        torch.save(saved, path)
        with refused(path, word, "model.state_dict()"):
            torch_file.read(path)


def test_the_format_before_torch_1_6_is_read_as_torch_reads_it(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    path, x = tmp_path / "old.pth", torch.arange(24.0).reshape(2, 3, 4)
    saved = {
        "net": torch.nn.Conv2d(3, 4, 5).state_dict(),
        "x": x,
        "part": x[1, :, 1:].T,
        "half": x.bfloat16(),
        "epoch": 3,
    }
    for protocol in (2, 4):
        torch.save(saved, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
        tensors = torch_file.read(path)
        assert tensors.keys() == {"net.weight", "net.bias", "x", "part", "half"}
        for name, value in [*saved["net"].items(), *((name, saved[name].float()) for name in ("x", "part", "half"))]:
            array = tensors[name if name in tensors else f"net.{name}"]
            np.testing.assert_array_equal(array, value.numpy(), strict=True)


def test_views_that_torch_evaluates_later_have_the_values_that_torch_shows(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    z = torch.complex(torch.arange(6.0), -torch.arange(1.0, 7.0)).reshape(2, 3)
    views = {"negative": z.conj().imag, "conjugate": z.conj(), "both": z.conj().T, "twice": z.conj().conj().imag}
    assert views["negative"].is_neg()
    for legacy, (name, view) in product((False, True), views.items()):
        torch.save({name: view}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        tensors = torch_file.read(tmp_path / "a.pth")
        np.testing.assert_array_equal(tensors[name], view.resolve_neg().resolve_conj().numpy(), strict=True)


# ---- Everywhere --------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    numbers=st.lists(st.integers(-9, 9), min_size=1, max_size=8),
    kind=st.sampled_from(["FloatStorage", "ShortStorage", "DoubleStorage"]),
    damage=st.sampled_from(["none", "cut", "longer", "no key", "unknown key", "big"]),
)
def test_files_from_before_torch_1_6_are_read_or_refused(torch_files, attempt, numbers, kind, damage):
    t, n = torch_files, len(numbers)
    dtype = {"FloatStorage": "<f4", "ShortStorage": "<i2", "DoubleStorage": "<f8"}[kind]
    one, two = (t.tensor(t.storage(key, n, kind), 0, (n,), (1,)) for key in ("94", "7"))
    data = np.array(numbers, dtype)
    storages = {"94": (n, data.tobytes()), "7": (n, (data + 1).tobytes())}
    keys = {"no key": ["7"], "unknown key": ["7", "94", "95"]}.get(damage)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "old.pth"
        t.write_legacy(path, {"netG": {"one": one, "two": two}, "epoch": 3}, storages, keys=keys)
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-1])
        elif damage == "longer":
            path.write_bytes(
                path.read_bytes().replace(struct.pack("<q", n) + data.tobytes(), struct.pack("<q", 2**62), 1)
            )
        elif damage == "big":
            path.write_bytes(path.read_bytes().replace(b"\x88", b"\x89", 1))
        tensors = attempt(torch_file.read, path)
    assert (tensors is not None) == (damage == "none")
    if tensors is not None:
        np.testing.assert_array_equal(tensors["netG.one"], data, strict=True)
        np.testing.assert_array_equal(tensors["netG.two"], data + 1)


def test_the_magic_number_is_the_one_of_torch():
    for protocol in range(2, 6):
        assert torch_file.is_legacy(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=protocol)[:32])
    assert not torch_file.is_legacy(pickle.dumps({"a": 1}))


def test_one_storage_may_be_seen_as_two_types(torch_files, tmp_path):
    t = torch_files
    views = {kind: t.tensor(t.storage("0", 2, kind), 0, (2,), (1,)) for kind in ("FloatStorage", "IntStorage")}
    t.write(tmp_path / "a.pth", views, {"0": struct.pack("<2f", 1, 2)})
    tensors = torch_file.read(tmp_path / "a.pth")
    assert tensors["FloatStorage"].tolist() == [1, 2]
    assert tensors["IntStorage"].tolist() == [0x3F800000, 0x40000000]


@pytest.mark.parametrize(("bits", "sign"), [({"neg": True}, -1), ({"neg": False}, 1), ({"conj": True}, 1), (None, 1)])
def test_a_tensor_with_its_negative_bit_is_negated(torch_files, tmp_path, refused, bits, sign):
    t, path = torch_files, tmp_path / "a.pth"
    for kind in ("FloatStorage", "BFloat16Storage"):
        t.write(path, {"x": t.tensor(t.storage("0", 2, kind), 0, (2,), (1,), bits)}, {"0": b"\0\0\x80\x3f\0\0\0\x40"})
        assert torch_file.read(path)["x"].tolist() == [sign * x for x in ((1, 2) if kind == "FloatStorage" else (0, 1))]
    t.write(path, {"x": t.tensor(t.storage("0", 2), 0, (2,), (1,), {"quantized": True})}, {"0": bytes(8)})
    with refused(path, "unknown metadata"):
        torch_file.read(path)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_lies_beside_weights_is_left_out(torch_files, tmp_path, protocol):
    beside = {
        "psnr": np.float64(21.5), "mean": np.zeros(3), "steps": Counter({30: 1}), "args": Namespace(lr=1e-4),
        "when": datetime(2020, 1, 1), "out": PurePosixPath("runs/1"), "seen": {1, 2}, "ok": True, None: 1.5,
    }  # fmt: skip
    path, code = tmp_path / "a.pth", pickle.dumps(beside, protocol=protocol)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
    assert torch_file.read(path) == {}


def test_nested_dicts_become_dotted_names_and_the_rest_is_left_out(torch_files, tmp_path):
    t = torch_files
    state = t.Call(t.ORDERED_DICT, (), state={"_metadata": t.Call(t.ORDERED_DICT, ())})
    x = t.tensor(t.storage("0", 2), 0, (2,), (1,))
    value = {
        "netG": {"a.b": t.tensor(t.storage("0", 2), 1, (), ())},
        "epoch": 3,
        "lr": [1e-4, None],
        7: state,
        "pairs": t.Call(t.ORDERED_DICT, ([("x", x)],)),
    }
    t.write(tmp_path / "a.pth", value, {"0": struct.pack("<2f", 1, 2)})
    tensors = torch_file.read(tmp_path / "a.pth")
    assert {name: array.tolist() for name, array in tensors.items()} == {"netG.a.b": 2, "pairs.x": [1, 2]}


class Attack:
    """What a hostile checkpoint does to those who unpickle it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (exec, "exec"), (getattr, "getattr"), (open, "open")],
)
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, refused, function, name, protocol):
    canary = tmp_path / "canary"
    command = f"touch {canary}" if function is os.system else f"open({str(canary)!r}, 'w')"
    attack = Attack(open, str(canary), "w") if function is open else Attack(function, command)
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": attack}, protocol=protocol))
    with refused(path, "refused"):
        torch_file.read(path)
    assert not canary.exists()
    if protocol >= 2:
        with refused(path, name):
            torch_file.read(path)


FORBIDDEN = {
    "instance": (b"(cos\nsystem\nX\x02\x00\x00\x00lso", "'os.system'"),
    "inst": (b"(X\x02\x00\x00\x00lsios\nsystem\n", "INST"),
    "newobj": (b"ccollections\nOrderedDict\n)\x81", "NEWOBJ"),
    "extension registry": (b"\x82\x01", "EXT1"),
    "a tensor class called": (b"ctorch\nFloatStorage\n)R", "'torch.FloatStorage'"),
    "a name with line breaks": (b"X\x03\x00\x00\x00o\nsX\x06\x00\x00\x00system\x93", "'o\\ns.system'"),
    "another torch function": (b"ctorch.hub\nload\n", "'torch.hub.load'"),
    "newobj of a tuple": (b")\x85)\x81", "NEWOBJ"),
    "out-of-band buffers": (b"\x97", "NEXT_BUFFER"),
}


@pytest.mark.parametrize(("code", "word"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidden_instructions_are_named(torch_files, tmp_path, refused, code, word):
    torch_files.write(tmp_path / "a.pth", code, {})
    with refused(tmp_path / "a.pth", "refused", word):
        torch_file.read(tmp_path / "a.pth")


STORAGE = 6 * 4


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (7,), (1,)),  # one number too many
        (6, (1,), (1,)),
        (0, (2, 3), (4, 1)),
        (0, (10**9, 10**9), (0, 0)),  # one number blown up
        (0, (2**62, 4), (2**62, 1)),  # products that overflow 64 bits to 0
        (2**62, (1,), (1,)),
        (0, (2,), (2**62,)),
        (0, (2,), (2**64,)),
        (-1, (1,), (1,)),
        (5, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (2, 3), (1,)),  # lengths differ
        (0, (1,) * 17, (1,) * 17),
        (0.0, (1,), (1,)),
        (True, (1,), (1,)),
        (0, [1], [1]),
        (0, "1", "1"),
        (0, None, None),
        (0, (0, 2**62), (1, 1)),  # empty, but larger than NumPy allows
    ],
)
def test_tensors_beyond_their_storage_are_refused(torch_files, tmp_path, refused, offset, size, stride):
    t = torch_files
    value = {"weight": t.tensor(t.storage("0", 6), offset, size, stride)}
    t.write(tmp_path / "a.pth", value, {"0": bytes(STORAGE)})
    with refused(tmp_path / "a.pth"):
        torch_file.read(tmp_path / "a.pth")


@settings(deadline=None, max_examples=200)
@given(
    length=st.integers(0, 12),
    offset=st.integers(0, 14),
    axes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), max_size=3),
)
def test_a_tensor_is_its_formula_or_refused(torch_files, attempt, length, offset, axes):
    t = torch_files
    size, stride = tuple(n for n, _ in axes), tuple(s for _, s in axes)
    numbers = list(range(100, 100 + length))
    where = {i: offset + sum(a * s for a, s in zip(i, stride, strict=True)) for i in np.ndindex(size)}
    fits = len(where) <= length and all(place < length for place in where.values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pth"
        storage = t.storage("0", length, "ShortStorage")
        t.write(path, {"x": t.tensor(storage, offset, size, stride)}, {"0": struct.pack(f"<{length}h", *numbers)})
        tensors = attempt(torch_file.read, path)
    assert (tensors is not None) == fits
    if tensors is None:
        return
    x = tensors["x"]
    assert x.shape == size
    assert x.dtype == np.int16
    assert all(x[i] == numbers[place] for i, place in where.items())


def test_storages_and_members_must_be_what_they_say(torch_files, tmp_path, refused):
    t, path = torch_files, tmp_path / "a.pth"
    weight = {"w": t.tensor(t.storage("0", 2), 0, (2,), (1,))}
    t.write(path, weight, {"0": bytes(7)})
    with refused(path, "too short"):
        torch_file.read(path)
    t.write(path, weight, {})
    with refused(path, "'archive/data/0'"):
        torch_file.read(path)
    t.write(path, weight, {"0": bytes(8)}, byteorder=b"big")
    with refused(path, "big-endian"):
        torch_file.read(path)
    t.write(path, {"w": t.tensor(t.Persistent(("module", 1, 2, 3, 4)), 0, (2,), (1,))}, {})
    with refused(path, "malformed"):
        torch_file.read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
    with refused(path, "compressed"):
        torch_file.read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.txt", b"")
    with refused(path, "0 files data.pkl"):
        torch_file.read(path)
    with refused(tmp_path / "none.pth", "No such file"):
        torch_file.read(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["an endless dict", "a thousand laughs"])
def test_dicts_in_dicts_do_not_explode(torch_files, tmp_path, refused, name):
    if name == "an endless dict":
        code = b"}q\x00X\x01\x00\x00\x00ah\x00s"
    else:  # forty levels, each with the one below twice: 2⁴⁰ names
        code = b"}q\x00" + b"".join(
            b"}(X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%cuq%c" % (i, i, i + 1) for i in range(40)
        )
    torch_files.write(tmp_path / "a.pth", code, {})
    if name == "an endless dict":
        assert torch_file.read(tmp_path / "a.pth") == {}
    else:
        with refused(tmp_path / "a.pth", "nested"):
            torch_file.read(tmp_path / "a.pth")


def test_a_key_of_deeply_nested_tuples_does_not_crash(torch_files, tmp_path, refused):
    torch_files.write(tmp_path / "a.pth", b"})" + b"\x85" * 200_000 + b"Ns", {})
    with refused(tmp_path / "a.pth", "key"):
        torch_file.read(tmp_path / "a.pth")


FRAGMENTS = [
    b"}", b"]", b")", b"(", b"t", b"u", b"e", b"s", b"a", b"R", b"b", b"Q", b"q\x00",
    b"h\x00", b"\x94", b"N", b".",
    b"\x85", b"\x86", b"\x87", b"\x93", b"K\x01", b"X\x01\x00\x00\x00a", b"X\x01\x00\x00\x000",
    b"X\x07\x00\x00\x00storage", b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\nFloatStorage\n",
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(code=st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=25).map(b"".join))
def test_any_sequence_of_instructions_is_read_or_refused(torch_files, attempt, code):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pth"
        torch_files.write(path, code, {"0": bytes(8)})
        assert isinstance(attempt(torch_file.read, path), dict | None)


@settings(deadline=None, max_examples=200)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255), keep=st.floats(0, 1))
def test_damaged_and_truncated_files_are_read_or_refused(attempt, position, flip, keep):
    data = bytearray(zlib.decompress(base64.b64decode(REAL)))
    data[int(position * len(data))] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pth"
        path.write_bytes(data if keep > 0.5 else data[: int(2 * keep * len(data))])
        assert isinstance(attempt(torch_file.read, path), dict | None)


def test_the_writer_of_these_tests_makes_what_python_unpickles(torch_files):
    value = {
        "a": [1, -2, 300, 2**70],
        "b": (None, True, 2.5),
        "ü": {},
        "od": torch_files.Call(torch_files.ORDERED_DICT, ()),
    }
    code = b"\x80\x02" + torch_files.pickled(value) + b"."
    assert pickle.load(io.BytesIO(code)) == value | {"od": {}}
