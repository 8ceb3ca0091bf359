"""Naming schemes: everything is translated to the authors' variable names, with kernels H W I O.

    inpaint_net/conv1/kernel                                  5 5 5 32      (height, width, in, out)
    inpaint_net/conv13_upsample/conv13_upsample_conv/bias     64
    discriminator/discriminator_local/conv1/kernel            5 5 3 64
    discriminator/dout_local_fc/kernel                        32768 1       (in, out)

`to_authors` translates the state dicts of the two most used PyTorch ports. They have the same generator layers as the
authors', with other names and another order of axes:

    daa233     coarse_generator.conv1.conv.weight, fine_generator.pmconv1.conv.weight, localD.linear.weight
    fgvc       stage_1.down.out.0.conv.0.weight, …: nbei/Deep-Flow-Guided-Video-Inpainting and FGVC
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ca_numpy.errors import UserError, listed, quoted

Naming = Literal["authors", "daa233", "fgvc"]

_NETWORKS = ("inpaint_net/", "discriminator/")
_NAMES: dict[Naming, re.Pattern[str]] = {
    "authors": re.compile(r"(?:^|\.)(?=(?:inpaint_net|discriminator)/)"),
    "daa233": re.compile(r"(?:^|\.)(?=(?:coarse_generator|fine_generator|localD|globalD)\.)"),
    "fgvc": re.compile(r"(?:^|\.)(?=stage_[12]\.(?:down|atrous|up|down_conv_branch|down_attn_branch|CAttn)\.)"),
}

_ENCODER = ("conv1", "conv2_downsample", "conv3", "conv4_downsample", "conv5", "conv6")
_ATROUS = ("conv7_atrous", "conv8_atrous", "conv9_atrous", "conv10_atrous")
_AFTER_ATTENTION = ("conv9", "conv10")
_DECODER = ("conv11", "conv12", "conv13", "conv14", "conv15", "conv16", "conv17")

# Added by PyTorch to the names of what it wraps, anywhere: DataParallel, torch.compile, FSDP, checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Dicts in a checkpoint that may repeat the parameters' names.
_OTHER_STATE = re.compile(r"(?:^|\.)(?:opt|sched|scaler)")


def canonical(names: Iterable[str]) -> list[str]:
    """The names of the two networks' variables, sorted, without optimiser slots, counters and other networks.

    TensorFlow saves Adam's moments with each variable, as `…/kernel/Adam` and `…/kernel/Adam_1`.
    """
    return sorted(name for name in names if name.startswith(_NETWORKS) and "/Adam" not in name)


def naming(names: Iterable[str]) -> Naming | None:
    """The naming scheme of these names, or None if unknown."""
    plain = [_plain(name) for name in names]
    for origin, beginning in _NAMES.items():
        if any(beginning.match(name) for name in plain if name):
            return origin
    return None


def to_authors(state: Mapping[str, NDArray[Any]], *, source: str) -> dict[str, NDArray[Any]]:
    """Translate a port's state dict to the authors' names, kernels O I H W → H W I O and (out, in) → (in, out).

    The network may be at any depth of a checkpoint (`netG.module.…`), twice only if both are equal. Everything else is
    dropped. A critic's dense layer reads features flattened in the order C H W in torch and H W C in TensorFlow, so its
    rows are permuted. Arrays already under the authors' names are unchanged.

    source: the file, for messages.
    Raises UserError for names of no known port, a parameter that the port's network lacks, two networks that differ,
    and mismatched shapes.
    """
    origin = naming(state)
    if origin is None:
        raise UserError(
            f"{source}: parameters of an unknown network: {listed(state)}; supported are the authors' names "
            "and those of the ports daa233/generative-inpainting-pytorch and FGVC"
        )
    weights: dict[str, tuple[str, NDArray[Any]]] = {}
    for name, array in state.items():
        plain = _plain(name)
        if plain is None or not _NAMES[origin].match(plain):
            continue
        other, first = weights.setdefault(plain, (name, array))
        if first is not array and not np.array_equal(first, array):
            raise UserError(
                f"{source}: {quoted(other)} and {quoted(name)} are the same parameter with different values; "
                "keep one of the two networks"
            )
    if origin == "authors":
        return {name: weights[name][1] for name in canonical(weights)}
    modules = _daa233_modules() if origin == "daa233" else _fgvc_modules()
    renamed, unknown = {}, []
    for plain, (name, array) in weights.items():
        module, _, leaf = plain.rpartition(".")
        if module in modules and leaf in ("weight", "bias"):
            renamed[f"{modules[module]}/{'kernel' if leaf == 'weight' else 'bias'}"] = (name, array)
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"{source}: looks like the port {origin}, but that network has no {listed(unknown)}")
    return _transpose(renamed, source=source)


def _transpose(renamed: Mapping[str, tuple[str, NDArray[Any]]], *, source: str) -> dict[str, NDArray[Any]]:
    """Torch's arrays in the authors' axis order; `renamed`: the authors' name → (torch's name, array)."""
    result = {}
    for target in sorted(renamed):
        name, array = renamed[target]
        dense = "_fc/" in target
        expected = 1 if target.endswith("/bias") else 2 if dense else 4
        if array.ndim != expected:
            raise UserError(f"{source}: {quoted(name)} has shape {array.shape}, but {expected} axes are expected")
        if expected == 4:
            array = oihw_to_hwio(array)
        elif expected == 2:
            # dout_local_fc follows discriminator_local/conv4, whose bias has one number per channel
            last = target.replace("dout_", "discriminator_").replace("_fc/kernel", "/conv4/bias")
            if last not in renamed:
                raise UserError(f"{source}: holds {quoted(name)} without the convolutions before it")
            try:
                array = dense_to_hwc(array, channels=renamed[last][1].size)
            except UserError as error:
                raise UserError(f"{source}: {quoted(name)}: {error}") from error
        result[target] = array
    return result


def oihw_to_hwio(kernel: NDArray[Any]) -> NDArray[Any]:
    """Torch's convolution kernel (out, in, height, width) as TensorFlow's (height, width, in, out)."""
    return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))


def dense_to_hwc(weight: NDArray[Any], *, channels: int) -> NDArray[Any]:
    """Torch's dense weight (out, C·H·W) as a kernel (H·W·C, out), for features flattened with channels last.

    The features are assumed to be square, H = W, as for a square image.
    Raises UserError if the inputs are not `channels` squares.
    """
    outputs, inputs = weight.shape
    side = math.isqrt(inputs // channels) if channels else 0
    if side * side * channels != inputs:
        raise UserError(f"{inputs} inputs are not {channels} channels of a square")
    return np.ascontiguousarray(
        weight.reshape(outputs, channels, side, side).transpose(2, 3, 1, 0).reshape(inputs, outputs)
    )


def _layer(prefix: str, name: str) -> str:
    """The authors' name of a convolution; those after an upsampling are in its scope."""
    if name in ("conv13", "conv15"):
        return f"inpaint_net/{prefix}{name}_upsample/{prefix}{name}_upsample_conv"
    return f"inpaint_net/{prefix}{name}"


def _daa233_modules() -> dict[str, str]:
    """Torch module → the authors' layer. The fine generator's dilated branch has no prefix there."""
    modules = {}
    for name in _ENCODER + _ATROUS + _DECODER:
        modules[f"coarse_generator.{name}.conv"] = _layer("", name)
    for name in _ENCODER + _ATROUS:
        modules[f"fine_generator.{name}.conv"] = _layer("x", name)
    for prefix, names in (("pm", _ENCODER + _AFTER_ATTENTION), ("all", _DECODER)):
        for name in names:
            modules[f"fine_generator.{prefix}{name}.conv"] = _layer(prefix, name)
    for which in ("local", "global"):
        for name in ("conv1", "conv2", "conv3", "conv4"):
            modules[f"{which}D.dis_conv_module.{name}.conv"] = f"discriminator/discriminator_{which}/{name}"
        modules[f"{which}D.linear"] = f"discriminator/dout_{which}_fc"
    return modules


def _fgvc_modules() -> dict[str, str]:
    """Torch module → the authors' layer.

    Each part is a sequence `out`, each layer in it a sequence `conv`. Padding and upsampling are elements without
    parameters: the convolution is `conv.1` after a padding layer, and elements 2 and 5 of the decoder upsample.
    """
    decoder = (0, 1, 3, 4, 6, 7, 8)
    parts: list[tuple[str, str, tuple[str, ...], Iterable[int]]] = [
        ("stage_1.down", "", _ENCODER, range(6)),
        ("stage_1.atrous", "", _ATROUS, range(4)),
        ("stage_1.up", "", _DECODER, decoder),
        ("stage_2.down_conv_branch", "x", _ENCODER, range(6)),
        ("stage_2.atrous", "x", _ATROUS, range(4)),
        ("stage_2.down_attn_branch", "pm", _ENCODER, range(6)),
        ("stage_2.CAttn", "pm", _AFTER_ATTENTION, range(2)),
        ("stage_2.up", "all", _DECODER, decoder),
    ]
    modules = {}
    for part, prefix, names, elements in parts:
        for name, element in zip(names, elements, strict=True):
            convolution = 1 if name.endswith("_downsample") else 0
            modules[f"{part}.out.{element}.conv.{convolution}"] = _layer(prefix, name)
    return modules


def _plain(name: str) -> str | None:
    """`netG.module.coarse_generator.…` → `coarse_generator.…`; None for other names, and in an optimiser's state."""
    bare = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    found = next((match for pattern in _NAMES.values() if (match := pattern.search(bare))), None)
    return None if found is None or _OTHER_STATE.search(bare[: found.start()]) else bare[found.end() :]
