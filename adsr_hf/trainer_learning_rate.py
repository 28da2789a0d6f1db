"""A Trainer whose learning rate can drop in steps."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from adsr_hf.config import ADSRConfig
from adsr_hf.trainer_data import OrderKeepingTrainer

DROP = 0.1


class DroppingTrainer(OrderKeepingTrainer):
    """Trainer with ``learning_rate_drops``, beside Trainer's own schedules."""

    args: ADSRConfig
    lr_scheduler: LRScheduler | None

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """Trainer's own, or the one that divides by 10 at each of ``learning_rate_drops``."""
        drops = self.args.learning_rate_drops
        if not drops or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        milestones = [round(share * num_training_steps) for share in drops]
        scheduler = MultiStepLR(self.optimizer if optimizer is None else optimizer, milestones, gamma=DROP)
        self.lr_scheduler, self._created_lr_scheduler = scheduler, True
        return scheduler
