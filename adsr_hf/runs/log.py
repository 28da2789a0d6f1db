"""What a run prints while it trains: one line for each log and each evaluation, with the time that is left."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers.trainer_callback import PrinterCallback, ProgressCallback

from adsr_hf.records.durations import duration_in_words
from adsr_hf.runs.estimate import MeasuredSpeed, Speed, Workload
from adsr_hf.trainer import ADSRTrainer

# Below this share of dead gradients nothing needs to be said.
_DEAD_GRADIENTS = 0.01


@dataclass(frozen=True)
class RunProgress:
    """How far a run has come.

    Attributes:
        step, steps: taken, and in all.
        seconds_left: until figures and weights are written; from the guess while nothing is measured.
        evaluation: the latest evaluation in words; None before the first.
    """

    step: int
    steps: int
    seconds_left: float
    evaluation: str | None


class RunLog(ProgressCallback):
    """Takes the place of Trainer's printing callbacks; trackers and the log history get everything as before.

    Args:
        workload: of this process.
        guess: how fast it will be done, before anything is measured.
        bar: whether to draw a progress bar beside the lines.
        report: is told after each line, in the first process.
    """

    def __init__(
        self, workload: Workload, guess: Speed, *, bar: bool, report: Callable[[RunProgress], None] | None = None
    ) -> None:
        super().__init__()
        self._workload = workload
        self._measured = MeasuredSpeed(guess)
        self._bar = bar
        self._report = report
        self._evaluation: str | None = None
        self._since, self._since_step, self._evaluating = time.perf_counter(), 0, 0.0
        self._expected = workload.seconds(guess)

    @classmethod
    def install(cls, trainer: ADSRTrainer, log: "RunLog") -> None:
        """Put it where Trainer's own were."""
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(log)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since, self._since_step, self._evaluating = time.perf_counter(), state.global_step, 0.0
        if self._bar:
            super().on_train_begin(args, state, control, **kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar:
            super().on_step_end(args, state, control, **kwargs)

    def on_prediction_step(
        self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        if self._bar:
            super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar:
            super().on_train_end(args, state, control, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        logs = logs or {}
        if "eval_runtime" in logs:
            self._measured.add_evaluation(self._workload.validation_images, logs["eval_runtime"])
            self._evaluating += logs["eval_runtime"]
            self._evaluation = evaluation_words(logs, args.metric_for_best_model)
            best = _is_best(logs, args, state)
            self._say(state, f"validation: {self._evaluation}{', the best so far' if best else ''}")
        elif "loss" in logs:
            self._measure_training(state)
            self._say(state, training_words(logs))

    def _measure_training(self, state: Any) -> None:
        now, steps = time.perf_counter(), state.global_step - self._since_step
        if steps > 0:
            self._measured.add_training(
                steps * self._workload.images_in_step, max(0.0, now - self._since - self._evaluating)
            )
        self._since, self._since_step, self._evaluating = now, state.global_step, 0.0

    def _say(self, state: Any, words: str) -> None:
        if not state.is_world_process_zero:
            return
        left = self._workload.seconds(self._measured.speed, step=state.global_step)
        width = len(str(state.max_steps))
        line = f"step {state.global_step:>{width}}/{state.max_steps}  {words}; {duration_in_words(left)} left"
        if self.training_bar is not None:
            self.training_bar.write(line)
        else:
            print(line, flush=True)
        if self._report is not None:
            self._report(RunProgress(state.global_step, state.max_steps, left, self._evaluation))


def training_words(logs: Mapping[str, float]) -> str:
    """Loss, speed and what shows that training goes wrong, from one log entry of training."""
    parts = [f"loss {logs['loss']:.4g}"]
    if "learning_rate" in logs:
        parts.append(f"learning rate {logs['learning_rate']:.2g}")
    if "grad_norm" in logs:
        parts.append(f"gradient {logs['grad_norm']:.3g}")
    if "attack_success" in logs:
        parts.append(f"attack succeeds {_percent(logs['attack_success'])}")
    if "teacher_agreement" in logs:
        parts.append(f"teacher right {_percent(logs['teacher_agreement'])}")
    if logs.get("zero_gradient_share", 0) >= _DEAD_GRADIENTS:
        parts.append(f"zero gradients {_percent(logs['zero_gradient_share'])}")
    if "images_per_second" in logs:
        parts.append(f"{logs['images_per_second']:.0f} images/s")
    return ", ".join(parts)


def evaluation_words(logs: Mapping[str, float], figure: str | None) -> str:
    """The figures of each measured network in percent, and the one that chooses where it is none of them.

    Args:
        logs: one log entry of an evaluation.
        figure: ``metric_for_best_model``.
    """
    parts = []
    for prefix, name in (("", "student"), ("teacher_", "teacher")):
        if (accuracy := logs.get(f"eval_{prefix}accuracy")) is None:
            continue
        words = f"{name} {_percent(accuracy)} accurate"
        if (robust := logs.get(f"eval_{prefix}robust_accuracy")) is not None:
            words += f", {_percent(robust)} under attack"
        parts.append(f"{words}, ECE {_percent(logs[f'eval_{prefix}ece'])}")
    name = (figure or "").removeprefix("eval_")
    if not name.endswith(("accuracy", "ece")) and f"eval_{name}" in logs:
        parts.append(f"{name} {logs[f'eval_{name}']:.4g}")
    return "; ".join(parts)


def _is_best(logs: Mapping[str, float], args: Any, state: Any) -> bool:
    if args.metric_for_best_model is None:
        return False
    value = logs.get(f"eval_{args.metric_for_best_model.removeprefix('eval_')}")
    if value is None or state.best_metric is None:
        return value is not None
    return bool(value > state.best_metric if args.greater_is_better else value < state.best_metric)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
