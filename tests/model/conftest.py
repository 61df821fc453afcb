"""Tests of the model side compute tiny things, for which a second thread costs more than it does."""

import importlib.util

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
