"""A network is found in a PyTorch checkpoint whatever training scripts put around and beside it."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca_numpy import weights

KERNEL = np.arange(24, dtype=np.float32).reshape(4, 3, 2, 1)
STATE = {
    "coarse_generator.conv1.conv.weight": KERNEL,
    "coarse_generator.conv1.conv.bias": np.arange(4, dtype=np.float32),
    "fine_generator.pmconv9.conv.bias": np.ones(2, np.float32),
}
EXPECTED = {
    "inpaint_net/conv1/kernel": KERNEL.transpose(2, 3, 1, 0),
    "inpaint_net/conv1/bias": STATE["coarse_generator.conv1.conv.bias"],
    "inpaint_net/pmconv9/bias": STATE["fine_generator.pmconv9.conv.bias"],
}
WRAPPERS = st.lists(st.sampled_from(["module", "_orig_mod", "_fsdp_wrapped_module"]), max_size=3)
CONTAINERS = st.lists(
    st.sampled_from(["model_state_dict", "state_dict", "ema", "netG", "generator", "model", "my network", "best"]),
    max_size=3,
)
BESIDE = {
    "epoch": 3,
    "n_averaged": 5.0,
    "loss": [1.0, 2.0],
    "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 1e-4, "betas": (0.5, 0.9), "foreach": None}]},
    "scheduler": {"last_epoch": 3},
}


def same(back):
    assert list(back) == sorted(EXPECTED)
    for name, array in EXPECTED.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


@settings(deadline=None)
@given(
    wrappers=st.lists(WRAPPERS, min_size=3, max_size=3),
    containers=CONTAINERS,
    beside=st.sets(st.sampled_from(sorted(BESIDE))),
    first=st.booleans(),
    again=st.booleans(),
)
def test_the_network_is_found_in_whatever_is_around_it(torch_files, wrappers, containers, beside, first, again):
    def renamed(name):
        parts = name.split(".")
        wrapped = [part for i in range(3) for part in (*wrappers[i], parts[i])]
        return ".".join(wrapped + parts[3:])

    def wrap(state):
        state = {renamed(name): value for name, value in state.items()}
        others = {name: BESIDE[name] for name in sorted(beside)}
        if again:  # a shallow copy: the same tensors
            others["copy"] = dict(state)
        for container in reversed(containers):
            state = {container: state}
        return others | state if first else state | others

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pth"
        torch_files.write_state(path, STATE, wrap=wrap)
        same(weights.read(path))
        assert weights.origin(path) == "daa233"


def test_adams_moments_under_the_parameters_names_are_not_parameters(torch_files, tmp_path):
    moments = {f"optim.state.{name}": 2 * array for name, array in STATE.items()}
    torch_files.write_state(tmp_path / "a.pth", moments | {f"net.{name}": array for name, array in STATE.items()})
    same(weights.read(tmp_path / "a.pth"))


def test_two_networks_that_differ_are_refused_by_their_names(torch_files, tmp_path, refused):
    both = {f"{where}.{name}": k * array for k, where in ((1, "netG"), (2, "ema")) for name, array in STATE.items()}
    torch_files.write_state(tmp_path / "a.pth", both)
    with refused(tmp_path / "a.pth", "'netG.coarse_generator", "'ema.coarse_generator", "keep one"):
        weights.read(tmp_path / "a.pth")


def test_another_networks_stages_are_not_taken_for_a_port(tmp_path):
    arrays = {"backbone.stage_1.conv.weight": KERNEL}
    weights.write(tmp_path / "a.safetensors", arrays)
    assert weights.origin(tmp_path / "a.safetensors") is None
    assert list(weights.read(tmp_path / "a.safetensors")) == list(arrays)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
def test_what_torch_itself_wraps_is_read(tmp_path, legacy):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    state = {name: torch.from_numpy(array.copy()) for name, array in STATE.items()}
    layer = torch.nn.Conv2d(1, 1, 1)
    net = torch.nn.Module()
    net.coarse_generator = torch.nn.Module()
    net.coarse_generator.conv1 = torch.nn.Module()
    net.coarse_generator.conv1.conv = torch.nn.Conv2d(3, 4, (2, 1))
    net.coarse_generator.conv1.conv.load_state_dict({"weight": state[next(iter(STATE))], "bias": torch.arange(4.0)})
    net.fine_generator = torch.nn.Module()
    net.fine_generator.pmconv9 = torch.nn.Module()
    net.fine_generator.pmconv9.conv = torch.nn.Module()
    net.fine_generator.pmconv9.conv.bias = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 1, 1, 1)).sum().backward()
    adam.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(adam, [1, 2])
    for saved in (
        torch.nn.DataParallel(net).state_dict(),
        torch.compile(net).state_dict(),
        torch.optim.swa_utils.AveragedModel(net).state_dict(),
        {"netG": net.state_dict(), "loss": torch.tensor(1.0), "opt_g": adam.state_dict()},
        {"model_state_dict": net.state_dict(), "epoch": 1, "psnr": np.float64(21.5), "sched": scheduler.state_dict()},
        {"a": net.state_dict(), "b": net.state_dict(), "size": torch.Size([1]), "device": torch.device("cpu")},
        dict.fromkeys(("netG", "best"), net.state_dict()),
        dict(net.named_parameters()),
    ):
        torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        same(weights.read(tmp_path / "a.pth"))
