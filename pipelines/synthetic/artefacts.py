"""Pen marks and air bubbles as on real slides, drawn independently of the diagnosis."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.synthetic.stains import RGB

PENS = ((38, 60, 150), (24, 110, 70), (30, 30, 36))
"""Blue, green and black ink, RGB."""


def draw_pen_mark(rgb: RGB, rng: np.random.Generator) -> None:
    """Draw a felt-pen stroke on ``rgb`` (H, W, 3), in place."""
    height, width = rgb.shape[:2]
    start, bend, end = rng.uniform((0.1, 0.1), (0.9, 0.9), (3, 2)) * (width, height)
    t = np.linspace(0, 1, 60)[:, None]
    stroke = np.round((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end).astype(np.int32)
    ink = np.zeros((height, width), np.uint8)
    cv2.polylines(ink, [stroke], False, 255, int(rng.integers(40, 80)), cv2.LINE_AA)
    left, top, w, h = cv2.boundingRect(cv2.findNonZero(ink))
    window = rgb[top : top + h, left : left + w]
    color = np.array(PENS[rng.integers(len(PENS))], np.float32)
    cover = cv2.blur(ink[top : top + h, left : left + w], (9, 9))[..., None] / np.float32(255) * 0.86
    window[:] = window * (1 - cover) + window * (color / 255) * cover * 0.35 + color * cover * 0.65


def draw_air_bubble(rgb: RGB, rng: np.random.Generator) -> None:
    """Draw an air bubble under the cover glass on ``rgb`` (H, W, 3), in place: dark rim, blurred inside."""
    height, width = rgb.shape[:2]
    radius = int(rng.integers(150, 330))
    x, y = int(rng.uniform(radius, width - radius)), int(rng.uniform(radius, height - radius))
    window = rgb[y - radius : y + radius, x - radius : x + radius]
    down, right = np.mgrid[-radius:radius, -radius:radius].astype(np.float32)
    theta = np.arctan2(down, right)
    distance = np.hypot(down, right) / radius * (1 + 0.03 * np.cos(2 * theta + 1) + 0.02 * np.cos(3 * theta))
    inside = np.clip((0.93 - distance) * 40, 0, 1)[..., None]
    blurred = cv2.GaussianBlur(window, (0, 0), 7).astype(np.float32)
    seen = window * (1 - inside) + (blurred * 0.75 + 56) * inside
    rim = np.exp(-(((distance - 0.93) / 0.022) ** 2)) + 0.35 * np.exp(-(((distance - 0.86) / 0.03) ** 2))
    shade = 1 - 0.62 * rim * (0.75 + 0.25 * np.cos(theta - 0.8))
    window[:] = (seen * shade[..., None]).clip(0, 255)
