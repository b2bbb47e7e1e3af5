"""Label maps and predictions in colours, with their mean IoU (VWE Figure 7; RCM+MAM Figures 5 and 10).

Letters: H W pixels.
"""

from pathlib import Path
from typing import Any

from wsss.data.manifest import read_manifest
from wsss.errors import UserError
from wsss.paper_figures.inputs import Inputs
from wsss.paper_figures.montage import Drawn, Scene, coloured, compose
from wsss.pseudo import label_map
from wsss.sources import kind_of
from wsss.stores import Record


def draw(inputs: Inputs, out: str | Path, **montage: Any) -> None:
    """Write the figure as a PNG; score maps become labels at their threshold.

    `montage`: the settings of the figure, see wsss.figure_settings.Montage. UserError for score maps whose threshold
    nothing could choose.
    """
    classes = len(read_manifest(inputs.data).classes) + 1

    def drawn(view: Scene, record: Record, threshold: float | None) -> Drawn:
        if kind_of(record) == "scores" and threshold is None:
            raise UserError(
                f"{view.sample.id}: these score maps become labels at a threshold that only ground truth chooses; "
                "set kind: maps for this figure"
            )
        return coloured(label_map(record, threshold), view.truth_HW, classes)

    compose(inputs, out, drawn, lambda view: "", **montage)
