"""Detect tissue with a trained network, whose weights come from a local file.

This module imports torch, so import it only when a network is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.core.errors import SettingsError, SlideError
from pipelines.core.tensor_file import read_tensor_file, state_dict_in
from pipelines.slides.pixels import Rgb
from pipelines.slides.slide import Slide, Thumbnail
from pipelines.slides.tissue import Mask, is_brightfield, without_small_areas

WINDOW = 512
"""Edge of the networks' input, pixels."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet normalization, with which these networks were trained."""


@dataclass(frozen=True)
class TissueNetwork:
    """A network that classifies each pixel as tissue or background."""

    build: Callable[[], nn.Module]
    """Builds the network without weights: (B, 3, 512, 512) -> logits of two classes (B, 2, 512, 512)."""
    mpp: float
    """Microns per pixel of the training images."""
    tissue_class: int
    """Class index of tissue, 0 or 1."""
    jpeg_quality: int | None = None
    """JPEG quality with which the input is compressed, as in training; None for no compression."""


def _hest() -> nn.Module:
    from torchvision.models.segmentation import deeplabv3_resnet50

    network: nn.Module = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=2)
    return network


def _grandqc() -> nn.Module:
    try:
        import segmentation_models_pytorch as smp
    except ModuleNotFoundError as error:
        raise SettingsError(
            "grandqc needs the package segmentation-models-pytorch, which is not installed",
            hint="pip install 'five-wsi[grandqc]'",
        ) from error
    network: nn.Module = smp.UnetPlusPlus("timm-efficientnet-b0", encoder_weights=None, classes=2)
    return network


NETWORKS: dict[str, TissueNetwork] = {
    "hest": TissueNetwork(_hest, mpp=1.0, tissue_class=1),
    "grandqc": TissueNetwork(_grandqc, mpp=10.0, tissue_class=0, jpeg_quality=80),
}
"""HEST's tissue segmentation (deeplabv3_seg_v4.ckpt) and GrandQC's tissue detection (Tissue_Detection_MPP10.pth)."""


@cache
def load_tissue_network(name: str, weights: Path, device: str = "cpu") -> nn.Module:
    """Return network ``name`` with weights from a ``.safetensors`` file or a torch checkpoint. The result is cached.

    Raises
    ------
    SettingsError
        The file cannot be read safely, or its weights do not fit this network.
    """
    network = NETWORKS[name].build()
    state = {key.removeprefix("model."): value for key, value in _state(weights).items()}
    state = {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}  # training only
    expected = network.state_dict()
    wrong = sorted(
        key
        for key in {*state, *expected}
        if key not in state or key not in expected or state[key].shape != expected[key].shape
    )
    if wrong:
        raise SettingsError(
            f"{weights}: not the weights of {name}: {len(wrong)} of {len(expected)} tensors differ, first '{wrong[0]}'",
            hint="give the file that was published for this network, or choose another --tissue-method",
        )
    network.load_state_dict(state)
    return network.eval().to(device)


def _state(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors in a file by name."""
    try:
        loaded = read_tensor_file(path)
    except Exception as error:  # torch raises many kinds of errors on foreign files
        raise SettingsError(
            f"{path}: not a file with tensors that can be read safely ({type(error).__name__})",
            hint="if you trust the file, save its state_dict as .safetensors",
        ) from error
    state = state_dict_in(loaded, ("state_dict",))
    if state is None:
        raise SettingsError(f"{path}: contains no state_dict", hint="save the network's state_dict as .safetensors")
    return state


def network_mask(
    slide: Slide, thumbnail: Thumbnail, network: TissueNetwork, module: nn.Module, *, min_area_mm2: float
) -> Mask:
    """Return where ``network`` detects tissue, in the pixels of ``thumbnail``.

    The slide is read in windows at the network's resolution, or up to a few percent finer so
    that a window is a whole number of thumbnail pixels. A thumbnail pixel is tissue if most of
    the network's pixels in it are. The mask is empty for fluorescence slides.

    Parameters
    ----------
    module
        The network with weights, from `load_tissue_network`.
    min_area_mm2
        Smaller pieces are removed and smaller holes are filled, mm2.
    """
    mask = np.zeros(thumbnail.rgb.shape[:2], bool)
    if not is_brightfield(thumbnail.rgb):
        return mask
    edge = max(1, math.floor(WINDOW * network.mpp / thumbnail.mpp))
    for row, column, rgb in _windows(slide, thumbnail, edge):
        share = cv2.resize(_tissue(rgb, network, module), (edge, edge), interpolation=cv2.INTER_AREA)
        area = mask[row : row + edge, column : column + edge]
        area[:] = (share > 0.5)[: area.shape[0], : area.shape[1]]
    return without_small_areas(mask & thumbnail.readable, thumbnail.mpp, min_area_mm2)


def _windows(slide: Slide, thumbnail: Thumbnail, edge: int) -> Iterator[tuple[int, int, Rgb]]:
    """Yield row and column in the thumbnail, and pixels, of each readable window."""
    height, width = thumbnail.rgb.shape[:2]
    x_scale, y_scale = thumbnail.downsample
    size_level0 = round(edge * math.sqrt(x_scale * y_scale))
    for row in range(0, height, edge):
        for column in range(0, width, edge):
            try:
                yield row, column, slide.read_tile(round(column * x_scale), round(row * y_scale), size_level0, WINDOW)
            except SlideError:
                continue  # the thumbnail already marks unreadable parts


def _tissue(rgb: Rgb, network: TissueNetwork, module: nn.Module) -> NDArray[np.float32]:
    """Return (512, 512) float32: 1 where the network detects tissue, else 0."""
    if network.jpeg_quality is not None:
        data = cv2.imencode(".jpg", rgb[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, network.jpeg_quality))[1]
        rgb = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    device = next(module.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        logits = module((pixels - mean) / std)
    if isinstance(logits, Mapping):  # torchvision returns a dictionary
        logits = logits["out"]
    is_tissue: NDArray[np.float32] = (logits[0].argmax(dim=0) == network.tissue_class).float().cpu().numpy()
    return is_tissue
