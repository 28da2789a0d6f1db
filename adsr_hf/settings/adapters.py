"""What of a pretrained network is trained: the fields of ModelArguments for it. Imports nothing heavy."""

from dataclasses import dataclass

from adsr_hf.settings.checks import at_least, in_range, is_finite
from adsr_hf.settings.setting import setting


@dataclass
class AdapterArguments:
    """Frozen parts, and low-rank adapters.

    Raises:
        ValueError: naming the field, its value, what is allowed and a way out.
    """

    freeze: list[str] | None = setting(
        None,
        "Parts that are not trained: whole components of parameter names, with wildcards, such as "
        "embeddings, layers.0 or 'layers.[0-5]'. What matches nothing is refused with the names that exist.",
    )
    lora_rank: int = setting(
        0,
        "Rank of low-rank adapters (LoRA, Hu et al., arXiv 2106.09685), trained with the head while "
        "everything else is frozen, and merged into what is published. Needs adsr-hf[lora]. 0 = none.",
    )
    lora_alpha: float | None = setting(
        None, "Adapters are scaled by lora_alpha / lora_rank. Default: lora_rank, a scale of 1."
    )
    lora_dropout: float = setting(0.0, "Dropout of the adapters' input, in [0, 1).")
    lora_targets: list[str] | None = setting(
        None,
        "Linear or convolutional modules that get an adapter, by the end of their names, such as q_proj "
        "or fc1; 'all' stands for every linear one before the head, which adversarial training needs more than "
        "clean training does (FullLoRA, Yuan et al., arXiv 2401.01752). Default: the attention's query and value.",
    )
    lora_train_norms: bool = setting(
        False, "Train the normalisation layers beside the adapters, as a whole; with lora_targets all in FullLoRA."
    )

    def check_adapters(self, *, from_scratch: bool) -> None:
        """Check every field of this class.

        Args:
            from_scratch: whether there are no pretrained weights.

        Raises:
            ValueError: at the first field that is not allowed.
        """
        if isinstance(self.freeze, str):
            self.freeze = [self.freeze]
        if isinstance(self.lora_targets, str):
            self.lora_targets = [self.lora_targets]
        at_least("lora_rank", self.lora_rank, 0, fix="0 trains without adapters, 8 is usual")
        in_range("lora_dropout", self.lora_dropout, low=0, high=0.99, fix="0 is usual for small ranks")
        if self.lora_alpha is not None and not (is_finite(self.lora_alpha) and self.lora_alpha > 0):
            raise ValueError(f"lora_alpha={self.lora_alpha!r} must be a positive number; leave it out for lora_rank")
        if self.lora_rank == 0:
            given = {
                "lora_alpha": self.lora_alpha,
                "lora_targets": self.lora_targets,
                "lora_dropout": self.lora_dropout,
                "lora_train_norms": self.lora_train_norms,
            }
            for name, value in given.items():
                if value:
                    raise ValueError(
                        f"{name}={value!r} has no effect with lora_rank=0; set lora_rank, or leave it out"
                    )
            return
        if from_scratch:
            raise ValueError(
                f"lora_rank={self.lora_rank} freezes the network beside its adapters, which from scratch would be "
                "random; give model instead of model_type, or set lora_rank to 0"
            )
        if self.freeze:
            raise ValueError(
                f"freeze={self.freeze} does not go with lora_rank={self.lora_rank}, which freezes everything but the "
                "adapters and the head already; leave one of them out"
            )
