"""A base objective with an auxiliary one of weight λ, in three readings of the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Combined:
    """L and A joined by ``form``.

    ``add``: L + λA, which for A = 1 - S rewards similarity. ``printed``: L + λ(1 - A) = L + λS, the sign that the
    paper prints; it rewards disagreement. ``convex``: (1 - λ)L + λA, "interpolating" as the paper words it.
    """

    base: Callable[[Tensor, Tensor], Tensor]
    auxiliary: Callable[[Tensor, Tensor], Tensor] | None = None
    weight: float = 0.0
    form: str = "add"

    def __call__(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and its named components before weighting."""
        base = self.base(logits, masks)
        if self.auxiliary is None:
            return base, {"base": base.detach()}
        auxiliary = self.auxiliary(logits, masks)
        components = {"base": base.detach(), "auxiliary": auxiliary.detach()}
        if self.form == "add":
            return base + self.weight * auxiliary, components
        if self.form == "printed":
            return base + self.weight * (1 - auxiliary), components
        if self.form == "convex":
            return (1 - self.weight) * base + self.weight * auxiliary, components
        raise ValueError(f"form '{self.form}' is unknown; valid: add, printed, convex")
