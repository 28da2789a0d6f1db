"""A Trainer whose learning rate can drop in steps."""

from bisect import bisect_right

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from adsr_hf.config import ADSRConfig
from adsr_hf.trainer_data import OrderKeepingTrainer

DROP = 0.1


class DroppingTrainer(OrderKeepingTrainer):
    """Trainer with ``learning_rate_drops``, beside Trainer's own schedules.

    Attributes:
        held_schedule_steps: length in steps that the drops are shares of, where it is not the run's.
    """

    args: ADSRConfig
    lr_scheduler: LRScheduler | None
    held_schedule_steps: int | None = None

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """Trainer's own, or the one that divides by 10 at each of ``learning_rate_drops``."""
        drops = self.args.learning_rate_drops
        if not drops or self.lr_scheduler is not None:
            return super().create_scheduler(num_training_steps, optimizer)
        milestones = [round(share * (self.held_schedule_steps or num_training_steps)) for share in drops]
        # A function of the step, as Trainer's own: a checkpoint's schedule may be continued with other milestones.
        scheduler = LambdaLR(
            self.optimizer if optimizer is None else optimizer, lambda step: DROP ** bisect_right(milestones, step)
        )
        self.lr_scheduler, self._created_lr_scheduler = scheduler, True
        return scheduler
