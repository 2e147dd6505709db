"""Image metrics: known errors, a slow float64 reference, and no network."""

import math
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from neus_ns.errors import InputError
from neus_ns.evaluation.image import load_lpips, psnr, psnr_in_mask, ssim


def noisy_pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    photo = torch.rand(height, width, 3, generator=generator)
    noise = torch.randn(height, width, 3, generator=generator)
    return (photo + 0.1 * noise).clamp(0, 1), photo


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004 window by window, in float64."""
    offset = np.arange(11) - 5
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for channel in range(3):
        for row in range(x.shape[0] - 10):
            for column in range(x.shape[1] - 10):
                a, b = (picture[row : row + 11, column : column + 11, channel] for picture in (x, y))
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                values.append(
                    (2 * mean_a * mean_b + 1e-4)
                    * (2 * covariance + 9e-4)
                    / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
                )
    return float(np.mean(values))


def test_ssim_is_one_for_equal_pictures_and_matches_the_slow_reference() -> None:
    rendered, photo = noisy_pair(17, 20)
    assert ssim(photo, photo) == pytest.approx(1.0, abs=1e-12)
    assert ssim(rendered, photo) == pytest.approx(
        slow_ssim(rendered.double().numpy(), photo.double().numpy()), abs=1e-10
    )
    assert ssim(rendered, photo) == pytest.approx(ssim(photo, rendered), abs=1e-12)
    with pytest.raises(InputError, match="11 pixels"):
        ssim(rendered[:8], photo[:8])


def test_psnr_of_a_known_error_and_inside_a_mask() -> None:
    photo = torch.full((12, 12, 3), 0.5)
    rendered = photo.clone()
    rendered[:6] += 0.1
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[:6] = True
    assert psnr_in_mask(rendered, photo, mask) == pytest.approx(20.0, abs=1e-4)
    assert psnr(rendered, photo) == pytest.approx(20.0 + 10 * math.log10(2), abs=1e-4)
    assert psnr_in_mask(rendered, photo, ~mask) == math.inf
    with pytest.raises(InputError, match="mask is empty"):
        psnr_in_mask(rendered, photo, mask & ~mask)


def test_lpips_without_weights_is_none_and_stays_off_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("LPIPS opened a network connection")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert load_lpips() is None
