"""Means of training figures between two log lines, weighted by images and kept on the device until they are read."""

import time
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor


class TrainingMeters:
    """Sums of per-image figures, and a clock that stands still while nobody trains."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._images = 0
        self._seconds = 0.0
        self._started: float | None = None

    def start_clock(self) -> None:
        """Begin to count time, at the beginning of an optimizer step."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop_clock(self) -> None:
        """Stop counting, at the end of an optimizer step: evaluation and saving are not throughput."""
        if self._started is not None:
            self._seconds += time.perf_counter() - self._started
            self._started = None

    def add(self, values: Mapping[str, Tensor | float], images: int) -> None:
        """Add one micro-batch: each value is a mean over its ``images`` images."""
        for name, value in values.items():
            total = torch.as_tensor(value, dtype=torch.float32).detach() * images
            self._sums[name] = self._sums[name] + total if name in self._sums else total
        self._images += images

    def totals(self, device: torch.device) -> tuple[list[str], Tensor]:
        """Names, and one float64 tensor to sum over ranks: each name's sum, then images, then seconds."""
        names = sorted(self._sums)
        values = [self._sums[name].to(device, torch.float64) for name in names]
        counts = torch.tensor([self._images, self._seconds], dtype=torch.float64, device=device)
        return names, torch.cat([torch.stack(values), counts]) if values else counts

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """Means over the images of all processes, and ``images_per_second``; then reset. Every process must ask."""
        names, totals = self.totals(accelerator.device)
        self.reset()
        # Gloo and NCCL reduce float64; accelerate returns the tensor itself in a single process.
        *sums, images, seconds = accelerator.reduce(totals, "sum").tolist()
        figures = {name: value / images for name, value in zip(names, sums, strict=True)} if images else {}
        if seconds:
            figures["images_per_second"] = images / (seconds / accelerator.num_processes)
        return figures

    def state_dict(self) -> dict[str, Tensor]:
        """What was added since the last :meth:`reset`, as scalar tensors."""
        counts = {"images": torch.tensor(self._images), "seconds": torch.tensor(self._seconds, dtype=torch.float64)}
        return {f"sum.{name}": total for name, total in self._sums.items()} | counts

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`."""
        self._sums = {name.removeprefix("sum."): total for name, total in state.items() if name.startswith("sum.")}
        self._images, self._seconds = int(state["images"]), float(state["seconds"])

    def restart(self) -> None:
        """Forget everything, a running clock too: another run begins."""
        self.reset()
        self._started = None

    def reset(self) -> None:
        """Forget everything but a running clock."""
        self._sums, self._images, self._seconds = {}, 0, 0.0
