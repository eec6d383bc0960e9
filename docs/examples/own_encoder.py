"""An encoder of your own for ``five embed``: torchvision's ResNet-18 without its classifier.

five embed tiles -o features --encoder own_encoder.py --weights resnet18-f37072fd.pth
"""

from pathlib import Path

import torch
from torchvision.models import resnet18


class TileEncoder(torch.nn.Module):
    """ResNet-18: 512 features per tile."""

    width = 512  # length of a feature vector
    tile_size = None  # pixels; None: tiles of any size
    mpp = None  # microns per pixel it was trained on, or a tuple of several; None: any
    # How tiles are prepared for `encode`; these are the defaults, except for the interpolation:
    input_size = 224  # tiles are resized to this edge
    interpolation = "bilinear"  # or bicubic
    mean = (0.485, 0.456, 0.406)  # RGB, for pixels scaled to 0..1
    std = (0.229, 0.224, 0.225)

    def __init__(self, weights: Path | None) -> None:
        """Build the network; ``weights`` is the file of ``--weights``, or None."""
        super().__init__()
        if weights is None:
            raise ValueError("pass --weights with torchvision's file of ResNet-18")
        self.network = resnet18()
        self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.network.fc = torch.nn.Identity()

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Return features (B, width) of normalized pixels (B, 3, input_size, input_size)."""
        return self.network(batch)
