"""The loss that a run minimizes.

B batch, T sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastlm.model.loss import linear_cross_entropy
from fastlm.model.transformer import TransformerLM


class MeanLoss(nn.Module):
    """Mean cross-entropy of a model's predictions, in nats.

    Args:
        model: The model.
        device: Its device.
        autocast_type: Dtype of autocast for the products; None for float32.
    """

    def __init__(self, model: TransformerLM, device: torch.device, autocast_type: torch.dtype | None):
        super().__init__()
        self.model = model
        self.device_type = device.type
        self.autocast_type = autocast_type

    def forward(self, inputs: Tensor, targets: Tensor, document_ids: Tensor | None = None) -> Tensor:
        """Computes the loss of inputs, targets and document ids, (B, T) each."""
        with torch.autocast(self.device_type, self.autocast_type, enabled=self.autocast_type is not None):
            hidden = self.model.hidden(inputs, document_ids=document_ids)  # (B, T, D)
            return linear_cross_entropy(hidden, self.model.lm_head.weight, targets)
