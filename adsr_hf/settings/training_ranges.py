"""What TrainingArguments' own numbers may be: its class takes any, and the run fails later or trains nothing."""

from transformers import TrainingArguments

from adsr_hf.settings.checks import at_least, in_range

_LARGEST_SEED = 2**32 - 1
_ONE_IMAGE = "a batch has at least one image"

# Name, least allowed value, way out.
_WHOLE = (
    ("per_device_train_batch_size", 1, _ONE_IMAGE),
    ("per_device_eval_batch_size", 1, _ONE_IMAGE),
    ("gradient_accumulation_steps", 1, "1 takes a step after every batch"),
    ("max_steps", -1, "-1 trains num_train_epochs"),
    ("dataloader_num_workers", 0, "0 loads images in the training process"),
)
# Name, least and largest allowed value, way out.
_REAL = (
    ("learning_rate", 0.0, float("inf"), "5e-5 is the default"),
    ("weight_decay", 0.0, float("inf"), "0 leaves it out"),
    ("adam_beta1", 0.0, 1.0, "0.9 is the default"),
    ("adam_beta2", 0.0, 1.0, "0.999 is the default"),
    ("adam_epsilon", 0.0, float("inf"), "1e-8 is the default"),
    ("max_grad_norm", 0.0, float("inf"), "0 leaves gradients as they are"),
    ("warmup_steps", 0.0, float("inf"), "0 leaves the warm-up out; below 1 it is a share of the run"),
    ("eval_delay", 0.0, float("inf"), "0 evaluates from the start"),
    ("seed", 0.0, _LARGEST_SEED, "any whole number there will do"),
)
# Name, and what says whether it counts.
_COUNTED_IN_STEPS = (
    ("logging_steps", "logging_strategy"),
    ("eval_steps", "eval_strategy"),
    ("save_steps", "save_strategy"),
)


def check_training_ranges(arguments: TrainingArguments) -> None:
    """Check the numbers that TrainingArguments leaves unchecked.

    Raises:
        ValueError: naming the first that is not allowed.
    """
    for name, low, fix in _WHOLE:
        at_least(name, getattr(arguments, name), low, fix=fix)
    for name, least, largest, fix in _REAL:
        in_range(name, getattr(arguments, name) or 0, low=least, high=largest, fix=fix)
    for name, strategy in _COUNTED_IN_STEPS:
        if getattr(arguments, strategy) == "steps" and not getattr(arguments, name) > 0:
            raise ValueError(
                f"{name}={getattr(arguments, name):g} with {strategy}='steps' would never come, and must be above 0; "
                f"below 1 it is a share of the run. {strategy}='no' leaves it out"
            )
    if arguments.max_steps <= 0 and not arguments.num_train_epochs > 0:
        raise ValueError(
            f"num_train_epochs={arguments.num_train_epochs:g} trains nothing and must be above 0; to evaluate alone, "
            "leave it out and call evaluate()"
        )
