"""Networks compiled once a run, beside the one that Trainer compiles itself."""

from typing import Any

import torch
from torch import nn

from adsr_hf.config import ADSRConfig


class CompiledNetworks:
    """Compiled versions of networks by what they are used for; the networks themselves without ``torch_compile``."""

    def __init__(self, args: ADSRConfig) -> None:
        self._args = args
        self._compiled: dict[str, Any] = {}

    def forget(self) -> None:
        """Compile anew when next asked: networks have become others."""
        self._compiled = {}

    def get(self, use: str, network: nn.Module) -> Any:
        """The network as it is called for ``use``, such as ``"attack"``."""
        if not self._args.torch_compile:
            return network
        if use not in self._compiled:
            backend, mode = self._args.torch_compile_backend, self._args.torch_compile_mode
            self._compiled[use] = torch.compile(network, backend=backend, mode=mode)
        return self._compiled[use]
