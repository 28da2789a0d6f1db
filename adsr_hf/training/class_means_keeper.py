"""The class-wise mean predictions of a run: kept where its objective weighs by them, the same in every process."""

from collections.abc import Mapping
from functools import partial

from accelerate import Accelerator
from torch import Tensor

from adsr_hf.config import ADSRConfig
from adsr_hf.method.ikl import ClassMeans
from adsr_hf.training.position import RunPosition


class ClassMeansKeeper:
    """Keeps IKL's :class:`~adsr_hf.method.ikl.ClassMeans` along the epochs of a run; does nothing for others.

    Attributes:
        means: None where the objective needs none.

    Args:
        args: the run's settings.
        num_classes: K.
        accelerator: sums over processes.
    """

    def __init__(self, args: ADSRConfig, *, num_classes: int, accelerator: Accelerator) -> None:
        self._args, self._num_classes, self._accelerator = args, num_classes, accelerator
        self.means: ClassMeans | None = None

    def begin(self) -> None:
        """Start anew: another run begins, maybe with another objective."""
        self.means = None
        if self._args.settled_objective == "ikl":
            self.means = ClassMeans(
                self._num_classes, temperature=self._args.ikl_temperature, device=self._args.device
            )

    def check(self, position: RunPosition) -> None:
        """Refuse a run whose class means would never leave their first values.

        Raises:
            ValueError: where the data have no length, and so no epochs.
        """
        if self.means is not None and not position.has_epochs:
            raise ValueError(
                "objective='ikl' renews its class-wise weights at the end of each epoch, and train_dataset has no "
                "length and so no epochs; use a data set with a length, or objective='trades'"
            )

    def weights(self, labels: Tensor, position: RunPosition) -> Tensor | None:
        """Weights of the images' true classes at this point of the run, (B, K), float32; None without class means.

        Args:
            labels: (B,), int64.
            position: counted in optimizer steps, so that every micro-batch of a step has the weights of one epoch.
        """
        if self.means is None:
            return None
        self.means.begin_epoch(position.step // position.steps_per_epoch)
        return self.means.of(labels)

    def add(self, clean_logits: Tensor, labels: Tensor) -> None:
        """Count a micro-batch's predictions of clean images, over all processes; every process must ask."""
        if self.means is not None:
            self.means.add(clean_logits, labels, total=partial(self._accelerator.reduce, reduction="sum"))

    def state_dict(self) -> dict[str, Tensor]:
        """That of the class means; empty without them."""
        return {} if self.means is None else self.means.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`."""
        if self.means is not None:
            self.means.load_state_dict(state)
