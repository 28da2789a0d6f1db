"""A Trainer for fine-tuning: learning rates by depth, and adapters that are merged into what is saved."""

from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from adsr_hf.fine_tuning.layer_decay import SCALE, learning_rate_scales, split_groups
from adsr_hf.fine_tuning.parts import parts
from adsr_hf.networks.adapted import frozen_fingerprint, is_adapted, raw_state
from adsr_hf.networks.classifier import bare_copy
from adsr_hf.networks.weights import STUDENT_FILE, save_tensors
from adsr_hf.trainer_learning_rate import DroppingTrainer
from adsr_hf.training.same_run import check_same_run


class FineTuningTrainer(DroppingTrainer):
    """Trainer with ``layer_decay``, which saves networks with adapters as ordinary ones."""

    model: Any
    _frozen_weights: str | None = None

    def create_optimizer(self, *args: Any) -> Optimizer:
        """Trainer's own, its groups by weight decay split by depth as ``layer_decay`` says.

        Raises:
            ValueError: when the groups cannot be split: an optimizer of the user's own, or one that hides parameters.
        """
        given = self.optimizer is not None
        optimizer = super().create_optimizer(*args)
        decay = self.args.layer_decay
        if decay == 1:
            return optimizer
        if given:
            if SCALE not in optimizer.param_groups[0]:
                raise ValueError(
                    f"layer_decay={decay:g} does not go with an optimizer of your own, whose groups are yours to "
                    "choose; leave it out, and split them with adsr_hf.fine_tuning.layer_decay.split_groups"
                )
            return optimizer
        model = args[0] if args else self.model
        optimizer.param_groups[:] = split_groups(optimizer.param_groups, model, learning_rate_scales(model, decay))
        return optimizer

    def fine_tuning_settings(self) -> dict[str, Any]:
        """What a continued run must have in common with its checkpoint; see ResumableTrainer."""
        if not is_adapted(self.model):
            frozen = [name for name, parameter in self.model.named_parameters() if not parameter.requires_grad]
            return {"layer_decay": self.args.layer_decay, "frozen": parts(frozen)}
        if self._frozen_weights is None:
            self._frozen_weights = frozen_fingerprint(self.model)
        return {"layer_decay": self.args.layer_decay, "frozen_weights": self._frozen_weights}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # Earlier than the rest of the settings, since torch's own complaint about other groups explains nothing.
        if checkpoint is not None:
            check_same_run(Path(checkpoint), self.fine_tuning_settings())
        super()._load_optimizer_and_scheduler(checkpoint)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save and is_adapted(self.model):
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            save_tensors(folder / STUDENT_FILE, raw_state(self.model))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Trainer's own; adapters are merged first, so that what is saved loads without PEFT."""
        if not is_adapted(self.model):
            super()._save(output_dir, state_dict)
            return
        trained: Any = self.model
        network: Any = bare_copy(trained)
        if state_dict is not None:
            network.load_state_dict(state_dict)
        self.model = network.merge_and_unload()
        try:
            super()._save(output_dir)
        finally:
            self.model = trained
