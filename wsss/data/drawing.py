"""Drawing primitives of the built-in images: colours, smooth noise, outlines, and how they cover pixels.

Shapes: H height, W width, N corners of an outline; a trailing 2 is (x, y), a trailing 3 is red, green, blue.
Colours are float32 in 0..1; y points down.
"""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

_OVERSAMPLING = 3


@dataclass(frozen=True)
class Pose:
    """Where an object stands: centre and length in pixels, tilt in radians, mirrored or not."""

    x: float
    y: float
    length: float
    tilt: float = 0.0
    mirrored: bool = False

    def __call__(self, points_N2: np.ndarray) -> np.ndarray:
        """Pixel coordinates of points given in units of the object's length."""
        flip = (-1.0 if self.mirrored else 1.0, 1.0)
        return turn(points_N2 * flip, self.tilt) * self.length + (self.x, self.y)


def hue(value: float, saturation: float, brightness: float) -> np.ndarray:
    """RGB, float32 [3], of a hue in 0..1 (red, yellow, green, cyan, blue, magenta, red)."""
    return np.array(colorsys.hsv_to_rgb(value % 1.0, saturation, brightness), np.float32)


def grey(value: float) -> np.ndarray:
    """RGB, float32 [3], of a grey value in 0..1."""
    return np.full(3, value, np.float32)


def blend(low: np.ndarray, high: np.ndarray, weight_HW: np.ndarray) -> np.ndarray:
    """`low` where the weight is 0 and `high` where it is 1; both are colours [3] or images [H, W, 3]."""
    return low + (high - low) * weight_HW[..., None]


def noise(rng: np.random.Generator, size: tuple[int, int], grain: tuple[float, float]) -> np.ndarray:
    """Smooth random field in 0..1, float32 [H, W]; `grain` is a bump's (height, width) in pixels."""
    rows, columns = (int(side / step) + 2 for side, step in zip(size, grain, strict=True))
    target = (round(columns * grain[1]) + 1, round(rows * grain[0]) + 1)
    value_HW = cv2.resize(rng.random((rows, columns), np.float32), target, interpolation=cv2.INTER_CUBIC)
    return value_HW[: size[0], : size[1]].clip(0, 1)


def turn(points_N2: np.ndarray, angle: float) -> np.ndarray:
    """Points turned about the origin."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points_N2 @ np.array([[cosine, sine], [-sine, cosine]])


def ellipse(x: float, y: float, radius_x: float, radius_y: float, rough_N: np.ndarray | None = None) -> np.ndarray:
    """Outline of an ellipse, float [N, 2]; `rough_N` holds relative changes of its radius."""
    count = 40 if rough_N is None else len(rough_N)
    angle_N = np.linspace(0, 2 * np.pi, count, endpoint=False)
    scale_N = 1 if rough_N is None else 1 + rough_N
    return np.stack([x + radius_x * scale_N * np.cos(angle_N), y + radius_y * scale_N * np.sin(angle_N)], -1)


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """Outline of a thick line, float [4, 2]."""
    a, b = np.array(start), np.array(end)
    side = np.array([a[1] - b[1], b[0] - a[0]]) / np.hypot(*(b - a)) * width / 2
    return np.stack([a + side, b + side, b - side, a - side])


def coverage(outlines: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Share of every pixel inside the union of outlines given in pixels, float32 [H, W]."""
    height, width = size
    canvas = np.zeros((height * _OVERSAMPLING, width * _OVERSAMPLING), np.uint8)
    for points_N2 in outlines:
        cv2.fillPoly(canvas, [np.round(points_N2 * _OVERSAMPLING - 0.5).astype(np.int32)], 255)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
