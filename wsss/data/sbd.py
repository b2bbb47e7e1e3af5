"""The Semantic Boundaries Dataset: its lists of images, and its class masks, from MATLAB files to PNGs."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from wsss.data.voc_constants import CLASSES
from wsss.errors import UserError
from wsss.files import atomic_folder
from wsss.ops.palette import voc_palette


def locate(folder: str | Path) -> Path:
    """The `dataset` folder of an unpacked SBD, given it, benchmark_RELEASE, or the parent of that one."""
    folder = Path(folder)
    for candidate in (folder / "benchmark_RELEASE" / "dataset", folder / "dataset", folder):
        if (candidate / "cls").is_dir():
            return candidate
    raise UserError(f"{folder}: holds no unpacked SBD (benchmark_RELEASE/dataset/cls is missing)")


def read_ids(folder: str | Path) -> tuple[str, ...]:
    """Ids of SBD's train.txt and val.txt together, sorted; UserError when a list is missing or empty."""
    dataset, ids = locate(folder), set()
    for name in ("train.txt", "val.txt"):
        path = dataset / name
        try:
            listed = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); unpack benchmark.tgz again") from None
        if not listed:
            raise UserError(f"{path}: is empty; unpack benchmark.tgz again")
        ids.update(listed)
    return tuple(sorted(ids))


def build_masks(sbd_root: str | Path, out_folder: str | Path) -> None:
    """Write `<id>.png` for every id of SBD's two lists: palette PNGs, uint8 class ids 0..20, no 255 border.

    Read from the field GTcls.Segmentation of cls/<id>.mat (Hariharan et al., ICCV 2011). The folder appears
    whole or not at all. UserError that names the first MATLAB file that is missing or broken.
    """
    dataset, palette = locate(sbd_root), voc_palette().tobytes()
    with atomic_folder(out_folder) as temporary:
        for key in read_ids(sbd_root):
            mask = Image.fromarray(read_mat(dataset / "cls" / f"{key}.mat"))
            mask.putpalette(palette)
            mask.save(temporary / f"{key}.png")


def read_mat(path: str | Path) -> np.ndarray:
    """Class ids of one MATLAB file of SBD, uint8 [H, W], 0..20; UserError names a file that is broken."""
    try:
        with open(path, "rb") as stream:
            label_HW = loadmat(stream, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; unpack benchmark.tgz again") from None
    except Exception as error:  # loadmat raises nearly anything on damaged files
        raise UserError(f"{path}: broken ({type(error).__name__}: {error}); unpack benchmark.tgz again") from None
    if label_HW.dtype != np.uint8 or label_HW.ndim != 2 or label_HW.size == 0 or label_HW.max() > len(CLASSES):
        raise UserError(
            f"{path}: GTcls.Segmentation is no map of class ids 0..{len(CLASSES)} "
            f"({label_HW.dtype} {list(label_HW.shape)}); unpack benchmark.tgz again"
        )
    return np.ascontiguousarray(label_HW)
