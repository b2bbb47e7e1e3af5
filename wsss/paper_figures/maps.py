"""Score maps laid over their images, with IoU, precision and recall (RCM+MAM Figures 4, 6 and 9; VWE Figure 6).

Letters: K classes of one image, H W pixels.
"""

from pathlib import Path
from typing import Any

from wsss.data.manifest import read_manifest
from wsss.figures import overlay
from wsss.ops.metrics import confusion, iou, precision, recall, tally
from wsss.ops.scores import enlarge
from wsss.paper_figures.inputs import Inputs
from wsss.paper_figures.montage import Drawn, Scene, coloured, compose, percent
from wsss.pseudo import label_map
from wsss.sources import kind_of
from wsss.stores import Record


def draw(inputs: Inputs, out: str | Path, **montage: Any) -> None:
    """Write the figure as a PNG; a map is that of the class in focus, and what a chain holds as labels is coloured.

    `montage`: the settings of the figure, see wsss.figure_settings.Montage.
    """
    names = ("background", *read_manifest(inputs.data).classes)

    def drawn(view: Scene, record: Record, threshold: float | None) -> Drawn:
        return map_over_image(view, record, threshold, len(names))

    compose(inputs, out, drawn, lambda view: "" if view.focus is None else names[view.focus], **montage)


def map_over_image(view: Scene, record: Record, threshold: float | None, classes: int) -> Drawn:
    """The map of the class in focus over the image, or labels in colours where the record holds those.

    Below a map: IoU, precision and recall of that class in percent, when all maps of the image become labels at the
    threshold (None where they hold their own background); nothing without truth or threshold.
    """
    if record.array.dtype.kind != "f":
        return coloured(record.array, view.truth_HW, classes)
    ids = tuple(record.meta["classes"])
    if view.focus not in ids:
        return Drawn(view.image_HW3)
    score_KHW = enlarge(record.array, record.meta["size"], record.meta.get("grid"))
    picture_HW3 = overlay(view.image_HW3, score_KHW[ids.index(view.focus)])
    if view.truth_HW is None or (kind_of(record) == "scores" and threshold is None):
        return Drawn(picture_HW3)
    counts = tally(confusion(view.truth_HW, label_map(record, threshold), classes))
    values = [percent(score(counts)[view.focus]) for score in (iou, precision, recall)]
    return Drawn(picture_HW3, "IoU {} · P {} · R {}".format(*values))
