"""`MomentumSGD`'s step on PyTorch: many variables in one call. Imported on that backend only."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def fits(variable: torch.Tensor) -> bool:
    """Whether `momentum_step` can take `variable`.

    Its kernel walks plain memory, and `torch.compile`, which fuses by itself, does not know it.
    """
    if torch.compiler.is_compiling():
        return False
    return variable.is_contiguous() and variable.device.type in ("cpu", "cuda")


@torch.no_grad()
def momentum_step(
    variables: Sequence[torch.Tensor],
    gradients: Sequence[torch.Tensor],
    velocities: Sequence[torch.Tensor],
    *,
    learning_rate: float,
    momentum: float,
    decay: float,
) -> None:
    """Equations (15) and (16) in place for variables of one type, device, rate and decay.

    PyTorch's fused kernel, the one behind `torch.optim.SGD(fused=True)`, computes

        v ← momentum·v + (1 − dampening)·(∇ + weight_decay·ω)
        ω ← ω − lr·v

    which is (15) and (16) for dampening = 1 + ε and lr = −1: one pass over the memory, where one
    operation after the other takes four.
    """
    like_variables = [
        gradient.to(variable.dtype).contiguous()
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
    torch._fused_sgd_(
        list(variables),
        like_variables,
        list(velocities),
        momentum=momentum,
        weight_decay=decay,
        lr=-1.0 if velocities else learning_rate,
        dampening=1 + learning_rate if velocities else 0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )
