"""Sizes of resized images and of score maps, in (height, width); rounding is half to even everywhere."""

Size = tuple[int, int]


def scaled(size: Size, factor: float) -> Size:
    """Both sides times `factor`, rounded (irn, psa: inputs of multi-scale inference)."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def strided(size: Size, stride: int = 4) -> Size:
    """Samples at 0, stride, 2 stride, ... per side: floor((n - 1) / stride) + 1 (score maps: 4)."""
    return (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1


def rounded_up(size: Size, multiple: int = 16) -> Size:
    """The smallest multiples of `multiple` not below the sides (irn: full-resolution maps before the cut)."""
    height, width = strided(size, multiple)
    return height * multiple, width * multiple


def resized_long(size: Size, target: int) -> Size:
    """Size whose longer side is `target`: both sides times target/long, rounded (irn)."""
    return scaled(size, target / max(size))


def resized_long_psa(size: Size, target: int) -> Size:
    """Size whose longer side is `target`: the shorter is round(short * target / long) (psa)."""
    height, width = size
    if height < width:
        return max(1, round(height * target / width)), target
    return target, max(1, round(width * target / height))
