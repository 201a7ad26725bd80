"""Calibration of a fine-tuned model: temperature of its confidence, and its evidence on the labelled shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mvdecor.errors import InputError

UNFAMILIAR = 0.8
"""A mesh whose familiarity is below this is warned of; docs/method.md says what that catches and what it does not."""


@dataclass(frozen=True)
class Calibration:
    """Measured after fine-tuning on new views of the labelled shapes, and kept in `checkpoint.json` as `calibration`.

    Attributes:
        temperature: divides the logits before the softmax of the confidence, at least 1. The labels do not depend on it.
        evidence: mean of `FaceVotes.evidence` on those views; None for a model that has none to compare with.
    """

    temperature: float = 1.0
    evidence: float | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any], checkpoint: object) -> Calibration:
        """That of a checkpoint's `checkpoint.json`; one that was written without has temperature 1 and no evidence.

        Raises:
            InputError: it is there and holds no such numbers.
        """
        record = metadata.get("calibration")
        if record is None:
            return cls()
        values = [record.get(key) if isinstance(record, Mapping) else None for key in ("temperature", "evidence")]
        numbers = [isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in values]
        if not numbers[0] or not values[0] >= 1 or not (numbers[1] or values[1] is None):  # type: ignore[operator]
            raise InputError(
                f"{checkpoint}: calibration in its checkpoint.json is damaged ({record}): a temperature of at least 1 and "
                "an evidence are read; copy the checkpoint again or train again"
            )
        return cls(float(values[0]), None if values[1] is None else float(values[1]))  # type: ignore[arg-type]

    def record(self) -> dict[str, float | None]:
        """Plain values, as `of` reads them."""
        return asdict(self)

    def familiarity(self, evidence: float | None) -> float | None:
        """A mesh's evidence over that of the labelled shapes: about 1 where the mesh is like them, less where it is not.

        None where either is missing, or where the network finds no evidence even on the labelled shapes.
        """
        if evidence is None or self.evidence is None or not self.evidence > 0:
            return None
        return evidence / self.evidence
