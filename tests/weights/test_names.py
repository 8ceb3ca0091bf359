"""The two PyTorch ports' names become the authors', one to one, with the axes in the authors' order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca_numpy.weights import names

# The authors' generator, layer by layer: (name, kernel size, channels in, channels out), and the names that
# the two ports give to that layer's parameters.
LAYERS = [
    ("conv1", 5, 5, 32, "coarse_generator.conv1", "stage_1.down.out.0.conv.0"),
    ("conv2_downsample", 3, 32, 64, "coarse_generator.conv2_downsample", "stage_1.down.out.1.conv.1"),
    ("conv3", 3, 64, 64, "coarse_generator.conv3", "stage_1.down.out.2.conv.0"),
    ("conv4_downsample", 3, 64, 128, "coarse_generator.conv4_downsample", "stage_1.down.out.3.conv.1"),
    ("conv5", 3, 128, 128, "coarse_generator.conv5", "stage_1.down.out.4.conv.0"),
    ("conv6", 3, 128, 128, "coarse_generator.conv6", "stage_1.down.out.5.conv.0"),
    ("conv7_atrous", 3, 128, 128, "coarse_generator.conv7_atrous", "stage_1.atrous.out.0.conv.0"),
    ("conv8_atrous", 3, 128, 128, "coarse_generator.conv8_atrous", "stage_1.atrous.out.1.conv.0"),
    ("conv9_atrous", 3, 128, 128, "coarse_generator.conv9_atrous", "stage_1.atrous.out.2.conv.0"),
    ("conv10_atrous", 3, 128, 128, "coarse_generator.conv10_atrous", "stage_1.atrous.out.3.conv.0"),
    ("conv11", 3, 128, 128, "coarse_generator.conv11", "stage_1.up.out.0.conv.0"),
    ("conv12", 3, 128, 128, "coarse_generator.conv12", "stage_1.up.out.1.conv.0"),
    (
        "conv13_upsample/conv13_upsample_conv",
        3,
        128,
        64,
        "coarse_generator.conv13",
        "stage_1.up.out.3.conv.0",
    ),
    ("conv14", 3, 64, 64, "coarse_generator.conv14", "stage_1.up.out.4.conv.0"),
    ("conv15_upsample/conv15_upsample_conv", 3, 64, 32, "coarse_generator.conv15", "stage_1.up.out.6.conv.0"),
    ("conv16", 3, 32, 16, "coarse_generator.conv16", "stage_1.up.out.7.conv.0"),
    ("conv17", 3, 16, 3, "coarse_generator.conv17", "stage_1.up.out.8.conv.0"),
    ("xconv1", 5, 5, 32, "fine_generator.conv1", "stage_2.down_conv_branch.out.0.conv.0"),
    (
        "xconv2_downsample",
        3,
        32,
        32,
        "fine_generator.conv2_downsample",
        "stage_2.down_conv_branch.out.1.conv.1",
    ),
    ("xconv3", 3, 32, 64, "fine_generator.conv3", "stage_2.down_conv_branch.out.2.conv.0"),
    (
        "xconv4_downsample",
        3,
        64,
        64,
        "fine_generator.conv4_downsample",
        "stage_2.down_conv_branch.out.3.conv.1",
    ),
    ("xconv5", 3, 64, 128, "fine_generator.conv5", "stage_2.down_conv_branch.out.4.conv.0"),
    ("xconv6", 3, 128, 128, "fine_generator.conv6", "stage_2.down_conv_branch.out.5.conv.0"),
    ("xconv7_atrous", 3, 128, 128, "fine_generator.conv7_atrous", "stage_2.atrous.out.0.conv.0"),
    ("xconv8_atrous", 3, 128, 128, "fine_generator.conv8_atrous", "stage_2.atrous.out.1.conv.0"),
    ("xconv9_atrous", 3, 128, 128, "fine_generator.conv9_atrous", "stage_2.atrous.out.2.conv.0"),
    ("xconv10_atrous", 3, 128, 128, "fine_generator.conv10_atrous", "stage_2.atrous.out.3.conv.0"),
    ("pmconv1", 5, 5, 32, "fine_generator.pmconv1", "stage_2.down_attn_branch.out.0.conv.0"),
    (
        "pmconv2_downsample",
        3,
        32,
        32,
        "fine_generator.pmconv2_downsample",
        "stage_2.down_attn_branch.out.1.conv.1",
    ),
    ("pmconv3", 3, 32, 64, "fine_generator.pmconv3", "stage_2.down_attn_branch.out.2.conv.0"),
    (
        "pmconv4_downsample",
        3,
        64,
        128,
        "fine_generator.pmconv4_downsample",
        "stage_2.down_attn_branch.out.3.conv.1",
    ),
    ("pmconv5", 3, 128, 128, "fine_generator.pmconv5", "stage_2.down_attn_branch.out.4.conv.0"),
    ("pmconv6", 3, 128, 128, "fine_generator.pmconv6", "stage_2.down_attn_branch.out.5.conv.0"),
    ("pmconv9", 3, 128, 128, "fine_generator.pmconv9", "stage_2.CAttn.out.0.conv.0"),
    ("pmconv10", 3, 128, 128, "fine_generator.pmconv10", "stage_2.CAttn.out.1.conv.0"),
    ("allconv11", 3, 256, 128, "fine_generator.allconv11", "stage_2.up.out.0.conv.0"),
    ("allconv12", 3, 128, 128, "fine_generator.allconv12", "stage_2.up.out.1.conv.0"),
    (
        "allconv13_upsample/allconv13_upsample_conv",
        3,
        128,
        64,
        "fine_generator.allconv13",
        "stage_2.up.out.3.conv.0",
    ),
    ("allconv14", 3, 64, 64, "fine_generator.allconv14", "stage_2.up.out.4.conv.0"),
    (
        "allconv15_upsample/allconv15_upsample_conv",
        3,
        64,
        32,
        "fine_generator.allconv15",
        "stage_2.up.out.6.conv.0",
    ),
    ("allconv16", 3, 32, 16, "fine_generator.allconv16", "stage_2.up.out.7.conv.0"),
    ("allconv17", 3, 16, 3, "fine_generator.allconv17", "stage_2.up.out.8.conv.0"),
]


def port_state(port: str) -> dict[str, np.ndarray]:
    """A generator as the port's state dict, every number different enough to tell the arrays apart."""
    rng = np.random.default_rng(0)
    state = {}
    for _, k, channels, filters, daa233, fgvc in LAYERS:
        module = f"{daa233}.conv" if port == "daa233" else fgvc
        state[f"{module}.weight"] = rng.standard_normal((filters, channels, k, k), dtype=np.float32)
        state[f"{module}.bias"] = rng.standard_normal(filters, dtype=np.float32)
    return state


@pytest.mark.parametrize("port", ["daa233", "fgvc"])
def test_a_ports_generator_becomes_the_authors(port):
    state = port_state(port)
    weights = names.to_authors(state, source="gen.pt")
    assert list(weights) == sorted(f"inpaint_net/{name}/{leaf}" for name, *_ in LAYERS for leaf in ("kernel", "bias"))
    assert sum(array.size for array in weights.values()) == 3_601_542
    for (name, k, channels, filters, *_), weight, bias in zip(
        LAYERS, list(state.values())[0::2], list(state.values())[1::2], strict=True
    ):
        kernel = weights[f"inpaint_net/{name}/kernel"]
        assert kernel.shape == (k, k, channels, filters)
        assert kernel.flags.c_contiguous
        for i, j in np.ndindex(k, k):
            np.testing.assert_array_equal(kernel[i, j], weight[:, :, i, j].T, strict=True)
        np.testing.assert_array_equal(weights[f"inpaint_net/{name}/bias"], bias, strict=True)


def test_a_kernel_computes_the_same_with_its_axes_in_the_new_order():
    rng = np.random.default_rng(1)
    patch, weight = rng.standard_normal((5, 3, 3)), rng.standard_normal((4, 5, 3, 3))  # C H W; O I H W
    ours = np.einsum("hwc,hwco->o", patch.transpose(1, 2, 0), names.oihw_to_hwio(weight))
    np.testing.assert_allclose(ours, np.einsum("chw,ochw->o", patch, weight), rtol=1e-12)


@settings(deadline=None)
@given(channels=st.integers(1, 5), side=st.integers(1, 4), outputs=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_dense_layer_computes_the_same_from_features_flattened_either_way(channels, side, outputs, seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((2, channels, side, side))
    weight = rng.standard_normal((outputs, channels * side * side))
    theirs = features.reshape(2, -1) @ weight.T
    ours = features.transpose(0, 2, 3, 1).reshape(2, -1) @ names.dense_to_hwc(weight, channels=channels)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def critic_state(which: str, side: int) -> dict[str, np.ndarray]:
    """The daa233 critic with two filters instead of sixty-four; `side` of the last feature map."""
    rng = np.random.default_rng(2)
    state, channels = {}, 3
    for i, filters in enumerate((2, 4, 8, 8), start=1):
        state[f"{which}D.dis_conv_module.conv{i}.conv.weight"] = rng.standard_normal((filters, channels, 5, 5))
        state[f"{which}D.dis_conv_module.conv{i}.conv.bias"] = rng.standard_normal(filters)
        channels = filters
    state[f"{which}D.linear.weight"] = rng.standard_normal((1, channels * side * side))
    state[f"{which}D.linear.bias"] = rng.standard_normal(1)
    return state


def test_critics_are_renamed_and_their_dense_rows_permuted():
    state = critic_state("local", 2) | critic_state("global", 4)
    weights = names.to_authors(state, source="dis.pt")
    layers = [f"discriminator_{which}/conv{i}" for which in ("local", "global") for i in (1, 2, 3, 4)]
    layers += ["dout_local_fc", "dout_global_fc"]
    assert set(weights) == {f"discriminator/{layer}/{leaf}" for layer in layers for leaf in ("kernel", "bias")}
    dense = weights["discriminator/dout_global_fc/kernel"]
    assert dense.shape == (8 * 4 * 4, 1)
    # The number for channel 3 of the pixel in row 1, column 2.
    assert dense[(1 * 4 + 2) * 8 + 3, 0] == state["globalD.linear.weight"][0, 3 * 16 + 1 * 4 + 2]


@pytest.mark.parametrize("wrapper", ["module.", "netG.", "state_dict.", "state_dict.module.", "model.netG.module."])
@pytest.mark.parametrize("port", ["daa233", "fgvc"])
def test_what_training_scripts_wrap_around_makes_no_difference(port, wrapper):
    state = port_state(port)
    wrapped = {wrapper + name: array for name, array in state.items()} | {
        "optimizer.state.0.exp_avg": np.zeros(3),
        "optim_g.step": np.zeros(()),
        "scheduler.last": np.zeros(()),
    }
    plain, unwrapped = (names.to_authors(s, source="gen.pt") for s in (state, wrapped))
    assert plain.keys() == unwrapped.keys()
    assert all(np.array_equal(plain[name], unwrapped[name]) for name in plain)


def test_the_authors_names_pass_without_optimiser_slots():
    kernel = np.ones((1, 1, 2, 3))
    state = {
        "inpaint_net/conv1/kernel": kernel,
        "inpaint_net/conv1/kernel/Adam": kernel,
        "global_step": np.ones(()),
    }
    weights = names.to_authors(state, source="a.pth")
    assert list(weights) == ["inpaint_net/conv1/kernel"]
    assert weights["inpaint_net/conv1/kernel"] is kernel
    assert list(names.to_authors({"module." + name: a for name, a in state.items()}, source="a.pth")) == list(weights)


def test_canonical_keeps_the_networks_variables_sorted():
    kept = ["discriminator/dout_local_fc/bias", "inpaint_net/conv1/bias", "inpaint_net/conv1/kernel"]
    dropped = ["inpaint_net/conv1/kernel/Adam", "inpaint_net/conv1/bias/Adam_1", "beta1_power", "global_step",
               "other/inpaint_net/conv1/kernel", "inpaint_network"]  # fmt: skip
    assert names.canonical(reversed(kept + dropped)) == kept


@pytest.mark.parametrize(
    ("name", "whose"),
    [("inpaint_net/conv1/kernel", "authors"), ("discriminator/dout_local_fc/bias", "authors"),
     ("module.coarse_generator.conv1.conv.bias", "daa233"), ("globalD.linear.bias", "daa233"),
     ("stage_1.down.out.0.conv.0.bias", "fgvc"), ("encoder.weight", None)],
)  # fmt: skip
def test_the_naming_scheme_is_recognised(name, whose):
    assert names.naming(["epoch", name]) == whose


def test_unknown_networks_and_parameters_are_named(refused):
    with refused("a.pth", "unknown network", "'a.weight', 'b.weight', 'c.weight' and 2 more"):
        names.to_authors({f"{letter}.weight": np.ones(1) for letter in "edcba"}, source="a.pth")
    with refused("a.pth", "unknown network", "none"):
        names.to_authors({}, source="a.pth")
    state = port_state("daa233") | {"fine_generator.pmconv7.conv.weight": np.ones((1, 1, 3, 3))}
    with refused("a.pth", "'fine_generator.pmconv7.conv.weight'"):
        names.to_authors(state, source="a.pth")
    with refused("a.pth", "'stage_1.down.out.1.conv.0.weight'"):
        names.to_authors({"stage_1.down.out.1.conv.0.weight": np.ones((1, 1, 3, 3))}, source="a.pth")
    with refused("a.pth", "'coarse_generator.conv1.conv.running_mean'"):
        names.to_authors({"coarse_generator.conv1.conv.running_mean": np.ones(1)}, source="a.pth")


def test_ambiguous_and_misshapen_parameters_are_refused(refused):
    weight = np.ones((1, 1, 3, 3))
    twice = {
        "netG.coarse_generator.conv1.conv.weight": weight,
        "module.coarse_generator.conv1.conv.weight": 2 * weight,
    }
    with refused("a.pth", "same parameter"):
        names.to_authors(twice, source="a.pth")
    with refused("a.pth", "shape (2, 2)", "4 axes"):
        names.to_authors({"coarse_generator.conv1.conv.weight": np.ones((2, 2))}, source="a.pth")
    with refused("a.pth", "shape (1, 1)", "1 axes"):
        names.to_authors({"coarse_generator.conv1.conv.bias": np.ones((1, 1))}, source="a.pth")
    with refused("a.pth", "without the convolutions"):
        names.to_authors({"localD.linear.weight": np.ones((1, 32))}, source="a.pth")
    with refused("a.pth", "'localD.linear.weight'", "24 inputs are not 8 channels of a square"):
        names.to_authors(critic_state("local", 2) | {"localD.linear.weight": np.ones((1, 24))}, source="a.pth")
