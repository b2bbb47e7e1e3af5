"""Which background threshold a stage uses: a number, or the one that an evaluation of the train split chose."""

import json
from pathlib import Path

from wsss.errors import UserError


def chosen(background: float | str, evaluation: str | None) -> float:
    """`background` itself when it is a number; for "best" and "holdout" the threshold in the evaluation file.

    Raises UserError when the evaluation could not choose one, for want of ground truth masks.
    """
    if not isinstance(background, str):
        return background
    content = json.loads(Path(str(evaluation)).read_text(encoding="utf-8"))
    rule = content["rules"].get(background)
    if rule is None or rule["threshold"] is None:
        raise UserError(
            f"background: {background} cannot be chosen ({(rule or {}).get('why_empty') or content['why_empty']}); "
            "give a number such as 0.15 instead"
        )
    return float(rule["threshold"])
