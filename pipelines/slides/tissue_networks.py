"""Tissue found by a trained network, with weights from a local file.

Imports torch, so it is itself imported only where a network is asked for.
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
"""Edge of what the networks see at once, pixels."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of ImageNet, which the networks here were trained with."""


@dataclass(frozen=True)
class TissueNetwork:
    """A network that tells tissue from background, pixel by pixel."""

    build: Callable[[], nn.Module]
    """Makes the network, without weights: (B, 3, 512, 512) -> logits of two classes (B, 2, 512, 512)."""
    mpp: float
    """Microns per pixel that it was trained at."""
    tissue_class: int
    jpeg_quality: int | None = None
    """Quality of the JPEG compression that its input goes through, as in training."""


def _hest() -> nn.Module:
    from torchvision.models.segmentation import deeplabv3_resnet50

    network: nn.Module = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=2)
    return network


def _grandqc() -> nn.Module:
    try:
        import segmentation_models_pytorch as smp
    except ModuleNotFoundError as error:
        raise SettingsError(
            "grandqc needs the package segmentation-models-pytorch", hint="pip install 'five-wsi[grandqc]'"
        ) from error
    network: nn.Module = smp.UnetPlusPlus("timm-efficientnet-b0", encoder_weights=None, classes=2)
    return network


NETWORKS: dict[str, TissueNetwork] = {
    "hest": TissueNetwork(_hest, mpp=1.0, tissue_class=1),
    "grandqc": TissueNetwork(_grandqc, mpp=10.0, tissue_class=0, jpeg_quality=80),
}
"""HEST's tissue segmentation (deeplabv3_seg_v4.ckpt) and GrandQC's tissue detection (Tissue_Detection_MPP10.pth)."""


@cache
def load_network(name: str, weights: Path, device: str = "cpu") -> nn.Module:
    """Return network ``name`` with the weights of a ``.safetensors`` file or a torch checkpoint; kept for next time.

    Raises
    ------
    SettingsError
        The file cannot be read safely, or its weights are not those of this network.
    """
    network = NETWORKS[name].build()
    found = {key.removeprefix("model."): value for key, value in _state(weights).items()}
    wanted = network.state_dict()
    found = {key: value for key, value in found.items() if not key.startswith("aux_classifier.")}  # used in training
    wrong = sorted(
        key
        for key in {*found, *wanted}
        if key not in found or key not in wanted or found[key].shape != wanted[key].shape
    )
    if wrong:
        raise SettingsError(
            f"{weights}: not the weights of {name}: {len(wrong)} of {len(wanted)} tensors differ, first '{wrong[0]}'",
            hint="give the file that was published for this network, or choose another --tissue-method",
        )
    network.load_state_dict(found)
    return network.eval().to(device)


def _state(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file by name."""
    try:
        loaded = read_tensor_file(path)
    except Exception as error:  # torch fails in many ways on a file that it did not write
        raise SettingsError(
            f"{path}: not a file of tensors that can be read safely ({type(error).__name__})",
            hint="save its state_dict as .safetensors where you trust the file",
        ) from error
    state = state_dict_in(loaded, ("state_dict",))
    if state is None:
        raise SettingsError(f"{path}: holds no state_dict", hint="save the network's state_dict as .safetensors")
    return state


def network_mask(
    slide: Slide, thumbnail: Thumbnail, network: TissueNetwork, module: nn.Module, *, min_area_mm2: float
) -> Mask:
    """Return where ``network`` sees tissue, in the pixels of ``thumbnail``.

    The slide is read window by window at the network's resolution, or up to a few percent
    finer so that a window is a whole number of thumbnail pixels; a pixel of the thumbnail
    is tissue where most of the network's pixels in it are. A slide that is dark, as in
    fluorescence, has none.

    Parameters
    ----------
    module
        Network with weights, from `load_network`.
    min_area_mm2
        Smaller pieces are dropped and smaller holes are filled, mm2.
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
    """Yield row and column of the thumbnail, and pixels, of the windows that can be read."""
    height, width = thumbnail.rgb.shape[:2]
    x_scale, y_scale = thumbnail.downsample
    size_level0 = round(edge * math.sqrt(x_scale * y_scale))
    for row in range(0, height, edge):
        for column in range(0, width, edge):
            try:
                yield row, column, slide.read_tile(round(column * x_scale), round(row * y_scale), size_level0, WINDOW)
            except SlideError:
                continue  # the thumbnail marks what cannot be read


def _tissue(rgb: Rgb, network: TissueNetwork, module: nn.Module) -> NDArray[np.float32]:
    """Return (512, 512) float32: 1 where the network sees tissue."""
    if network.jpeg_quality is not None:
        data = cv2.imencode(".jpg", rgb[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, network.jpeg_quality))[1]
        rgb = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    device = next(module.parameters()).device
    pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        logits = module((pixels - mean) / std)
    if isinstance(logits, Mapping):  # torchvision gives the logits a name
        logits = logits["out"]
    found: NDArray[np.float32] = (logits[0].argmax(dim=0) == network.tissue_class).float().cpu().numpy()
    return found
