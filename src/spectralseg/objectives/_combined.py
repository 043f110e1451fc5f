"""A base objective plus an auxiliary one of weight λ, in three interpretations of the paper."""

from __future__ import annotations

from torch import Tensor

from spectralseg.objectives._objective import Objective

FORMS = ("add", "printed", "convex")


class Combined(Objective):
    """Base objective L and auxiliary objective A, combined as ``form`` says.

    ``add``: L + λA, which for A = 1 - S rewards similarity. ``printed``: L + λ(1 - A) = L + λS, the sign as printed in
    the paper, which rewards dissimilarity. ``convex``: (1 - λ)L + λA, the "interpolation" of the paper.

    The components are those of both parts. Where both have one of the same name, that of A gets the prefix
    ``auxiliary_``.

    Args:
        base: L.
        auxiliary: A; None gives L.
        weight: λ.
        form: ``add``, ``printed`` or ``convex``.

    Raises:
        ValueError: ``form`` is unknown.

    Examples:
        >>> import torch
        >>> from spectralseg.objectives import Combined, build_objective
        >>> base, auxiliary = build_objective("bce_dice"), build_objective("spectral")
        >>> objective = Combined(base, auxiliary, weight=0.2)
        >>> logits, masks = torch.zeros(2, 1, 32, 32), torch.ones(2, 32, 32, dtype=torch.long)
        >>> loss = objective(logits, masks)
        >>> torch.isclose(loss, base(logits, masks) + 0.2 * auxiliary(logits, masks))
        tensor(True)
        >>> {name: round(part.item(), 4) for name, part in objective.components(logits, masks).items()}
        {'cross_entropy': 0.6931, 'dice': 0.3332, 'spectral': 0.2}
    """

    def __init__(
        self, base: Objective, auxiliary: Objective | None = None, weight: float = 0.0, form: str = "add"
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form '{form}' is unknown; valid: {', '.join(FORMS)}")
        self.base, self.auxiliary, self.weight, self.form = base, auxiliary, weight, form

    def _compute(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        base, components = self.base._compute(logits, masks)
        if self.auxiliary is None:
            return base, components
        auxiliary, more = self.auxiliary._compute(logits, masks)
        components = components | {f"auxiliary_{name}" if name in components else name: more[name] for name in more}
        if self.form == "add":
            return base + self.weight * auxiliary, components
        if self.form == "printed":
            return base + self.weight * (1 - auxiliary), components
        return (1 - self.weight) * base + self.weight * auxiliary, components
