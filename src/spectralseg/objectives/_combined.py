"""A base objective with an auxiliary one of weight λ, in three readings of the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Objective = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Combined:
    """L and A joined by ``form``.

    ``add``: L + λA, which for A = 1 - S rewards similarity. ``printed``: L + λ(1 - A) = L + λS, the sign that the
    paper prints; it rewards disagreement. ``convex``: (1 - λ)L + λA, "interpolating" as the paper words it.
    """

    base: Objective
    auxiliary: Objective | None = None
    weight: float = 0.0
    form: Literal["add", "printed", "convex"] = "add"

    def __call__(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and the components of both parts; a name of both is the base's.

        Raises:
            ValueError: ``form`` is unknown.
        """
        base, components = self.base(logits, masks)
        if self.auxiliary is None:
            return base, components
        auxiliary, more = self.auxiliary(logits, masks)
        components = components | {f"auxiliary_{name}" if name in components else name: more[name] for name in more}
        if self.form == "add":
            return base + self.weight * auxiliary, components
        if self.form == "printed":
            return base + self.weight * (1 - auxiliary), components
        if self.form == "convex":
            return (1 - self.weight) * base + self.weight * auxiliary, components
        raise ValueError(f"form '{self.form}' is unknown; valid: add, printed, convex")
