"""Optimizers and gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from fastlm.training.config import TrainingConfig

__all__ = ["AdamW", "clip_gradients", "make_optimizers", "set_learning_rate"]


def clip_gradients(parameters: Iterable[nn.Parameter], max_l2_norm: float) -> Tensor:
    """Scales gradients in place so that their l2 norm over all parameters is at most `max_l2_norm`.

    The factor is max_l2_norm / (norm + 1e-6) (Pascanu et al. 2013, https://arxiv.org/abs/1211.5063).

    Args:
        parameters: The parameters; those without a gradient are skipped.
        max_l2_norm: The maximum norm.

    Returns:
        The norm before scaling, a scalar.
    """
    return nn.utils.clip_grad_norm_(parameters, max_l2_norm)


def make_optimizers(model: nn.Module, config: TrainingConfig) -> list[Optimizer]:
    """Makes fused AdamW for all parameters, or Muon for the matrices of `model.layers` and AdamW for the others.

    Matrices decay, vectors do not (Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101). Muon (Jordan et al.
    2024) scales its updates to the size of AdamW's (Liu et al. 2025, https://arxiv.org/abs/2502.16982), so that both
    use the same learning rate and decay.

    Args:
        model: The model.
        config: The configuration of the run.

    Returns:
        The optimizers.

    Raises:
        ValueError: torch has no Muon.
    """
    hidden, matrices, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            vectors.append(parameter)
        elif config.optimizer == "muon" and name.startswith("layers."):
            hidden.append(parameter)
        else:
            matrices.append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adamw = AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
    if not hidden:
        return [adamw]
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"optimizer is 'muon', which torch {torch.__version__} does not have; expected 'adamw'")
    muon = torch.optim.Muon(
        hidden, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [adamw, muon]


def set_learning_rate(optimizers: Iterable[Optimizer], learning_rate: float) -> None:
    """Sets the learning rate of all parameters for the next step."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
