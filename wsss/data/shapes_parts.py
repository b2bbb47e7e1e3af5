"""Parts of the built-in images: grounds and skies, bodies with their coats, and the marks of the classes.

Shapes: H height, W width; a trailing 3 is red, green, blue. Bodies are in units of the object's length.
"""

from dataclasses import dataclass

import numpy as np

from wsss.data.drawing import Pose, bar, blend, ellipse, hue, noise, turn

MARKS = ("cross", "ring", "star", "moon", "bolt", "heart", "arrow", "clover")
SCENES = ("meadow", "water", "brick", "sand", "asphalt")
BODIES = ("beast", "cart", "plant")
_COATS = {
    "beast": ((0.55, 0.38, 0.22), (0.75, 0.66, 0.52), (0.36, 0.33, 0.33), (0.85, 0.83, 0.80)),
    "cart": ((0.62, 0.60, 0.64), (0.52, 0.30, 0.26), (0.30, 0.37, 0.48), (0.78, 0.70, 0.50)),
    "plant": ((0.24, 0.38, 0.20), (0.42, 0.48, 0.26), (0.46, 0.37, 0.25), (0.30, 0.38, 0.34)),
}
_GLYPHS = {
    "cross": [bar((-0.75, 0), (0.75, 0), 0.42), bar((0, -0.75), (0, 0.75), 0.42)],
    "ring": [ellipse(0, 0, 0.72, 0.72)],
    "star": [np.concatenate([turn(np.array([(0, -0.85), (0.2, -0.28)]), k * np.pi / 2.5) for k in range(5)])],
    "moon": [ellipse(0, 0, 0.75, 0.75)],
    "bolt": [np.array([(0.25, -0.85), (-0.5, 0.1), (0, 0.1), (-0.25, 0.85), (0.5, -0.15), (0, -0.15)])],
    "heart": [
        *(ellipse(x, -0.25, 0.38, 0.36) for x in (-0.33, 0.33)),
        np.array([(-0.68, -0.12), (0.68, -0.12), (0, 0.75)]),
    ],
    "arrow": [np.array([(-0.7, 0), (0, -0.8), (0.7, 0)]), bar((0, -0.2), (0, 0.78), 0.4)],
    "clover": [ellipse(x, y, 0.3, 0.3) for x, y in ((-0.42, 0), (0.42, 0), (0, -0.42), (0, 0.42))],
}
_CUTS = {"ring": [ellipse(0, 0, 0.36, 0.36)], "moon": [ellipse(0.38, 0, 0.55, 0.6)]}


@dataclass(frozen=True)
class Body:
    """Outlines of an object in units of its length, and the disc (x, y, radius) for the class mark."""

    coat: list[np.ndarray]
    limbs: list[np.ndarray]
    dark: list[np.ndarray]
    mark: tuple[float, float, float]


def glyph(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Outlines of a mark inside the unit disc: the filled ones, and those that are cut out of them."""
    return _GLYPHS[name], _CUTS.get(name, [])


def scene(rng: np.random.Generator, kind: str, size: tuple[int, int]) -> np.ndarray:
    """A background, float32 [H, W, 3]: a textured ground, for half of the open ones below a sky."""
    image_HW3 = _ground(rng, kind, size)
    if kind != "brick" and rng.random() < 0.5:
        row_HW = np.arange(size[0], dtype=np.float32)[:, None]
        line_HW = row_HW - size[0] * rng.uniform(0.2, 0.45) - 5 * noise(rng, size, (200, 14))
        cloud_HW = (noise(rng, size, (10, 26)) * 1.6 - 0.5).clip(0, 1)
        sky_HW3 = blend(hue(0.57, rng.uniform(0.1, 0.45), 0.88), hue(0, 0, 0.95), cloud_HW)
        image_HW3 = blend(sky_HW3, image_HW3, (line_HW + 0.5).clip(0, 1))
    return image_HW3.astype(np.float32)


def _ground(rng: np.random.Generator, kind: str, size: tuple[int, int]) -> np.ndarray:
    y_HW, x_HW = np.mgrid[: size[0], : size[1]].astype(np.float32)
    coarse_HW, fine_HW = noise(rng, size, (22, 22)), rng.random(size, np.float32)
    if kind == "meadow":
        blades_HW = 0.6 * noise(rng, size, (5, 1.6)) + 0.4 * coarse_HW
        return blend(hue(0.30, 0.30, 0.25), hue(0.22, 0.25, 0.66), blades_HW)
    if kind == "water":
        wave_HW = np.sin(y_HW / rng.uniform(1.2, 2.2) + 5 * noise(rng, size, (9, 18)))
        light_HW = 0.35 + 0.25 * wave_HW + 0.3 * coarse_HW
        return blend(hue(0.59, 0.30, 0.35), hue(0.55, 0.15, 0.78), light_HW)
    if kind == "brick":
        return _bricks(rng, y_HW, x_HW) * (0.85 + 0.3 * fine_HW[..., None])
    if kind == "sand":
        slope, pitch = rng.uniform(-0.6, 0.6), rng.uniform(1.5, 3.0)
        ripple_HW = np.sin((y_HW + slope * x_HW) / pitch + 6 * coarse_HW)
        light_HW = 0.35 + 0.22 * ripple_HW + 0.3 * fine_HW
        return blend(hue(0.10, 0.23, 0.60), hue(0.12, 0.15, 0.92), light_HW)
    image_HW3 = blend(hue(0.65, 0.06, 0.22), hue(0.60, 0.04, 0.55), 0.55 * fine_HW + 0.45 * coarse_HW)
    middle_HW = size[1] * rng.uniform(0.1, 0.9) + rng.uniform(-0.5, 0.5) * (y_HW - size[0])
    image_HW3[(np.abs(x_HW - middle_HW) < 1.5) & (y_HW % 22 < 14)] = 0.82
    return image_HW3


def _bricks(rng: np.random.Generator, y_HW: np.ndarray, x_HW: np.ndarray) -> np.ndarray:
    high = rng.uniform(6, 11)
    row_HW = (y_HW / high).astype(int)
    column_HW = x_HW / (2.1 * high) + 0.5 * (row_HW % 2)
    tone_HW = rng.random((64, 64), np.float32)[row_HW % 64, column_HW.astype(int) % 64]
    image_HW3 = blend(hue(0.03, 0.25, 0.42), hue(0.05, 0.19, 0.66), tone_HW)
    image_HW3[(y_HW % high < 1.2) | (column_HW % 1 < 1.2 / (2.1 * high))] = 0.72
    return image_HW3


def body(rng: np.random.Generator, kind: str) -> Body:
    """A random body of a kind; nothing in it depends on the class. Outlines are smooth or ragged."""
    rough_N = rng.normal(0, rng.choice([0.0, 0.05, 0.09]), 64)
    return {"beast": _beast, "cart": _cart, "plant": _plant}[kind](rng, rough_N)


def _beast(rng: np.random.Generator, rough_N: np.ndarray) -> Body:
    trunk = ellipse(-0.03, 0, 0.36, rng.uniform(0.15, 0.22), rough_N)
    feet = [(x, x + rng.uniform(-0.05, 0.05)) for x in (-0.30, -0.18, 0.13, 0.25)]
    legs = [bar((hip, 0.05), (foot, 0.40), 0.075) for hip, foot in feet]
    tail = bar((-0.33, -0.03), (-0.48, rng.uniform(-0.25, 0.15)), 0.05)
    head_y = rng.uniform(-0.28, -0.12)
    neck = bar((0.24, -0.02), (0.38, head_y), 0.15)
    head = ellipse(0.38, head_y, 0.20, 0.20, 0.5 * rough_N)
    ears = [bar((0.38 + x, head_y), (0.38 + 1.6 * x, head_y - 0.2), 0.07) for x in (-0.07, 0.07)]
    return Body([trunk, neck, head, *ears], [*legs, tail], [], (0.40, head_y, 0.18))


def _cart(rng: np.random.Generator, rough_N: np.ndarray) -> Body:
    low, high = 0.20, rng.uniform(-0.16, -0.08)
    box = np.array([(-0.5, high), (0.42, high), (0.5, high + 0.08), (0.5, low), (-0.5, low)])
    left, right = rng.uniform(-0.42, -0.30), rng.uniform(-0.05, 0.15)
    cabin = np.array([(left, high), (left + 0.08, -0.36), (right - 0.08, -0.36), (right, high)])
    window = cabin * 0.68 + cabin.mean(0) * 0.32
    wheels = [ellipse(x, 0.23, 0.12, 0.12, 0.3 * rough_N) for x in (-0.28, 0.28)]
    return Body([box, cabin], [], [window, *wheels], (rng.uniform(0.24, 0.33), high / 2 + 0.07, 0.18))


def _plant(rng: np.random.Generator, rough_N: np.ndarray) -> Body:
    pot = np.array([(-0.17, 0.26), (0.17, 0.26), (0.12, 0.5), (-0.12, 0.5)])
    leaves = []
    for number, height in enumerate((0.20, 0.14, 0.06, 0.0, -0.08, -0.14)):
        side = 1 if number % 2 else -1
        leaf_N2 = turn(ellipse(0, 0, 0.20, 0.09, rough_N), side * rng.uniform(-0.7, 0.1))
        leaves.append(leaf_N2 + np.array([side * rng.uniform(0.12, 0.2), height]))
    stem = bar((0, 0.3), (0, -0.3), 0.07)
    return Body([*leaves, stem], [pot], [], (rng.uniform(-0.05, 0.05), -0.33, 0.20))


def coat(rng: np.random.Generator, kind: str, size: tuple[int, int], pose: Pose) -> np.ndarray:
    """Colour and texture of a body, float32 [H, W, 3], from a pool that all classes with this body share."""
    pool = _COATS[kind]
    base, other = (np.array(pool[i], np.float32) for i in rng.choice(len(pool), 2, replace=False))
    base = base * rng.uniform(0.8, 1.2) + rng.normal(0, 0.03, 3).astype(np.float32)
    grain = max(2.0, pose.length / 7)
    y_HW, x_HW = np.mgrid[: size[0], : size[1]].astype(np.float32)
    pattern = rng.choice(["plain", "patches", "stripes", "mottled"])
    weight_HW = np.zeros(size)
    if pattern == "patches":
        weight_HW = (noise(rng, size, (grain, grain)) > 0.58).astype(np.float32)
    elif pattern == "stripes":
        angle = rng.uniform(0, np.pi)
        weight_HW = 0.35 + 0.35 * np.sin((x_HW * np.cos(angle) + y_HW * np.sin(angle)) * 4 / grain)
    elif pattern == "mottled":
        weight_HW = 0.6 * noise(rng, size, (grain / 2, grain / 2))
    light_HW = (1.1 - 0.35 * ((y_HW - pose.y) / pose.length + 1 / 3)).clip(0.6, 1.2)
    light_HW *= 1 + rng.uniform(0.1, 0.4) * (rng.random(size, np.float32) - 0.5)
    return (blend(base, other, weight_HW) * light_HW[..., None]).astype(np.float32)
