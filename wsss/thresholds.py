"""Evaluation files, and which background threshold a stage uses: a number, or the one that an evaluation chose."""

import json
from pathlib import Path
from typing import Any

from wsss.errors import UserError


def chosen(background: float | str, evaluation: str | None) -> float:
    """`background` itself when it is a number; for "best" and "holdout" the threshold in the evaluation file.

    Raises UserError when the evaluation could not choose one, for want of ground truth masks.
    """
    if not isinstance(background, str):
        return background
    content = read_evaluation(str(evaluation))
    rule = content["rules"].get(background)
    if rule is None or rule["threshold"] is None:
        raise UserError(
            f"background: {background} cannot be chosen ({(rule or {}).get('why_empty') or content['why_empty']}); "
            "give a number such as 0.15 instead"
        )
    return float(rule["threshold"])


def read_evaluation(path: str | Path) -> dict[str, Any]:
    """Content of an evaluation file; UserError when it cannot be read or lacks its main keys."""
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        if {"split", "classes", "rules", "contract"} <= set(content):
            return content
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the evaluation again") from None
    except (ValueError, TypeError):
        pass
    raise UserError(f"{path}: is not an evaluation file; delete it and run the evaluation again")
