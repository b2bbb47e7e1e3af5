"""The colours of class ids in palette PNGs."""

import numpy as np

BORDER_COLOUR = (224, 224, 192)


def voc_palette() -> np.ndarray:
    """PASCAL VOC's colour map, uint8 [256, 3]: bits 0, 1, 2 of an id go to red, green, blue, top bit first.

    Eight rounds take three bits of the id each; entry 255 (ignored) has the colour of the official masks.
    """
    rest = np.arange(256)
    palette = np.zeros((256, 3), np.int64)
    for bit in range(7, -1, -1):
        for channel in range(3):
            palette[:, channel] |= (rest >> channel & 1) << bit
        rest = rest >> 3
    palette[255] = BORDER_COLOUR
    return palette.astype(np.uint8)
