"""Pictures: an encoder that makes tokens of the looped core from them, and a decoder that draws what was imagined.

    uint8 (H, W, C) -> less the mean picture -> ViT or conv -> tokens (M, d) -> the looped core
    imagined tokens (M, d) -> an MLP that draws the pixels of each -> plus the mean picture -> uint8 (H, W, C)

Each of the M = (H / patch) (W / patch) tokens stands for a square of `patch` pixels. All of its channels are memory
(tokens.py): it has unit root mean square, and is drawn only when somebody asks. docs/loopwm.md says what was measured
before the parts were chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..types import Obs, Observed
from .mlp import check_ranges

ENCODERS = ("vit", "conv")
LEVELS = 255.0
"""Largest value of a pixel."""
AT_ONCE = 256
"""Pictures that are coded together outside of training: a bound of the memory."""

Shape = tuple[int, int, int]
"""Height, width and channels of a picture."""


@dataclass(frozen=True)
class ImageConfig:
    """How pictures enter and leave the model.

    Attributes:
        encoder: vit (linear patches, then a transformer) or conv (two layers, the first of them with overlap).
        patch: side of the square of pixels that a token stands for, a multiple of 4; it divides height and width.
        hidden: width of the MLP that draws, and twice that of the second layer of encoder conv.
        layers: of the transformer.
    """

    encoder: str = "vit"
    patch: int = 16
    hidden: int = 256
    layers: int = 2

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ValueError(f"model.image.encoder is '{self.encoder}', allowed {', '.join(ENCODERS)}")
        check_ranges("model.image", self, ("patch", 4, 64), ("hidden", 4, 8192), ("layers", 1, 64))
        if self.patch % 4:
            raise ValueError(f"model.image.patch is {self.patch} pixels, allowed multiples of 4 up to 64")

    def grid(self, shape: Shape) -> tuple[int, int]:
        """Tokens down and across a picture.

        Raises:
            ValueError: height or width is no multiple of the patch.
        """
        height, width, _ = shape
        if height % self.patch or width % self.patch or not min(shape):
            raise ValueError(
                f"pictures are {height} x {width} pixels, allowed multiples of model.image.patch = {self.patch}; "
                "resize them, or set model.image.patch"
            )
        return height // self.patch, width // self.patch


class ImageNormalizer(nn.Module):
    """Pixels less the mean picture of the data, in units of one deviation for all of them.

    Args:
        shape: of a picture.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full(shape, 0.5))
        self.register_buffer("std", torch.tensor(0.5))

    def fit(self, images: Tensor) -> None:
        """Take mean picture and deviation from data (rows, H, W, C) uint8; the deviation is 1/255 at least."""
        total = torch.zeros(self.mean.shape, dtype=torch.float64)
        square = total.clone()
        for some in images.split(AT_ONCE):  # never all of them as floats
            pixels = some.to(total) / LEVELS
            total += pixels.sum(0)
            square += pixels.square().sum(0)
        mean = total / len(images)
        self.mean.copy_(mean)
        self.std.copy_((square / len(images) - mean.square()).mean().clamp_min(LEVELS**-2).sqrt())

    def forward(self, image: Tensor) -> Tensor:
        """uint8 (..., H, W, C) to normalised float."""
        return (image.to(self.mean) / LEVELS - self.mean) / self.std

    def inverse(self, x: Tensor) -> Tensor:
        """Normalised (..., H, W, C) to uint8."""
        return ((x * self.std + self.mean) * LEVELS).round().clamp(0, LEVELS).to(torch.uint8)


class Vision(nn.Module):
    """Encoder and decoder of pictures.

    Args:
        shape: height, width and channels of a picture.
        d: width of a token.
        heads: of all attention.
        config: settings.
    """

    def __init__(self, shape: Shape, d: int, heads: int, config: ImageConfig | None = None) -> None:
        super().__init__()
        c = config or ImageConfig()
        self.shape, self.config = shape, c
        self.grid = c.grid(shape)
        self.num = math.prod(self.grid)
        """Tokens M of a picture."""
        self.normalizer = ImageNormalizer(shape)
        channels, p = shape[2], c.patch
        self.place = nn.Parameter(torch.randn(self.num, d) * 0.02)
        if c.encoder == "vit":
            layer = nn.TransformerEncoderLayer
            blocks = (layer(d, heads, 2 * d, 0.0, F.silu, batch_first=True, norm_first=True) for _ in range(c.layers))
            self.features: nn.Module = nn.Conv2d(channels, d, p, p)
            self.mixer: nn.Module = nn.Sequential(*blocks)
        else:
            near, far = max(1, c.hidden // 4), max(1, c.hidden // 2)
            layers = (nn.Conv2d(channels, near, 8, 4, 2), nn.SiLU(), nn.Conv2d(near, far, p // 4, p // 4), nn.SiLU())
            self.features = nn.Sequential(*layers, nn.Conv2d(far, d, 1))
            self.mixer = nn.Identity()
        pixels = nn.Linear(c.hidden, p * p * channels)
        nn.init.zeros_(pixels.weight)  # a new model draws the mean picture
        nn.init.zeros_(pixels.bias)
        self.draw = nn.Sequential(nn.Linear(d, c.hidden), nn.SiLU(), pixels)

    def forward(self, image: Tensor) -> Tensor:
        """Tokens of pictures: uint8 (..., H, W, C) -> (..., M, d)."""
        flat = image.reshape(-1, *self.shape)
        parts = [flat] if torch.is_grad_enabled() else flat.split(AT_ONCE)
        tokens = torch.cat([self._encode(part) for part in parts])
        return tokens.view(*image.shape[:-3], self.num, -1)

    def decode_normalised(self, tokens: Tensor) -> Tensor:
        """Pictures of tokens, normalised: (..., M, d) -> (..., H, W, C)."""
        p = self.config.patch
        squares: Tensor = self.draw(tokens)  # (..., M, p p C)
        squares = squares.unflatten(-1, (p, p, -1)).unflatten(-4, self.grid)  # (..., rows, columns, p, p, C)
        return squares.transpose(-4, -3).reshape(*tokens.shape[:-2], *self.shape)

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Pictures to look at: (..., M, d) -> (..., H, W, C) uint8."""
        flat = tokens.reshape(-1, *tokens.shape[-2:])
        drawn = [self.normalizer.inverse(self.decode_normalised(part)) for part in flat.split(AT_ONCE)]
        return torch.cat(drawn).view(*tokens.shape[:-2], *self.shape)

    def error(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Mean square of what tokens (..., M, d) draw against pictures (..., H, W, C) -> (...).

        In units of the data's variance: 1 is what the mean picture gets.
        """
        return (self.decode_normalised(tokens) - self.normalizer(image)).square().mean(dim=(-3, -2, -1))

    def check(self, obs: Obs) -> Observed[Tensor]:
        """Refuse what is no picture of this kind.

        Raises:
            ValueError: there is no picture, or its type, its size or its leading dimensions do not fit.
        """
        if not isinstance(obs, Observed):
            raise ValueError(
                f"obs has no picture, allowed one of {self.shape}; pass Observed(vector, image) from loopwm_robot.types"
            )
        image = obs.image
        if image.dtype != torch.uint8:
            raise ValueError(f"obs.image is {image.dtype}, allowed torch.uint8 from 0 to 255; convert it")
        if image.shape[-3:] != self.shape:
            allowed = ", ".join(map(str, self.shape))
            raise ValueError(f"obs.image has shape {tuple(image.shape)}, allowed (..., {allowed})")
        if image.shape[:-3] != obs.vector.shape[:-1]:
            raise ValueError(
                f"obs.image has shape {tuple(image.shape)} beside numbers of shape {tuple(obs.vector.shape)}, "
                "allowed the same leading dimensions"
            )
        return obs

    def _encode(self, image: Tensor) -> Tensor:
        x = self.features(self.normalizer(image).movedim(-1, 1))  # (B, d, rows, columns)
        tokens: Tensor = self.mixer(x.flatten(2).transpose(1, 2) + self.place)
        return tokens
