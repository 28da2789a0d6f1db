"""ADSRTrainer: every hook of Trainer's that needs another answer, each asking an object. It holds no arithmetic."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import Trainer
from transformers.trainer_utils import EvalLoopOutput, HubStrategy, IntervalStrategy, TrainOutput

from adsr_hf.attacks import PixelSpace
from adsr_hf.config import ADSRConfig, check_is_config
from adsr_hf.measures.figures import MeasuredLogits
from adsr_hf.method.teacher import EMATeacher
from adsr_hf.networks.adapted import base_network
from adsr_hf.networks.classifier import check_trainable, number_of_classes
from adsr_hf.publishing.calibrator import HeadCalibrator, forget_calibration
from adsr_hf.publishing.card_facts import CardFacts, DataDescription
from adsr_hf.publishing.publisher import Publisher, facts_given
from adsr_hf.records.folder_lock import own_folder
from adsr_hf.settings.selection import search_objective
from adsr_hf.settings.temporary import temporarily
from adsr_hf.training import best_checkpoint, checkpointer, columns, optimization, processes
from adsr_hf.training.batch import Batch, unpack
from adsr_hf.training.callbacks import RunCallback
from adsr_hf.training.interrupt import InterruptRequest, TrainingInterrupted, shield_workers
from adsr_hf.training.run import TrainingRun
from adsr_hf.training.run_folder import find_checkpoint, take_over
from adsr_hf.training.same_run import check_same_run
from adsr_hf.training.signatures import signature_of
from adsr_hf.training.step_loss import refuse_loss_function


class ADSRTrainer(Trainer):
    """``transformers.Trainer`` for image classifiers that resist small changes of their input.

    Trains by annealed self-distillation rectification (ADR: Wu et al., ICLR 2024, arXiv 2305.12118), by plain
    adversarial training, or on clean images, as ``args.method`` says. A working ``Trainer(...)`` for image
    classification needs no other change.

    ``evaluate()`` also returns ``accuracy``, ``ece`` and ``mean_confidence``, the same as ``robust_…`` of the worst
    image found (as in ``adsr evaluate``) and as ``teacher_…`` of the teacher. ``processing_class``, the image
    processor, gives back the pixels; without one, ``pixel_space`` does.

    Example:
        >>> from transformers import ResNetConfig, ResNetForImageClassification
        >>> model = ResNetForImageClassification(ResNetConfig(hidden_sizes=[8], depths=[1], num_labels=2))
        >>> config = ADSRConfig(output_dir="runs/mine", epsilon="4/255", use_cpu=True)
        >>> ADSRTrainer(model, config, pixel_space=PixelSpace(mean=(0.5,), std=(0.25,))).num_classes
        2

    Raises:
        TypeError, ValueError: for other settings, models or processors, or an option that the method cannot honour.
    """

    args: ADSRConfig
    model: Any
    model_wrapped: Any
    control: Any
    _resume_checkpoint: Path | None
    data_description: DataDescription | None = None  # What the card says; set it before training.
    push_in_progress: Any = None

    def __init__(
        self, model: Any = None, args: Any = None, *others: Any, pixel_space: PixelSpace | None = None, **kwargs: Any
    ) -> None:
        check_is_config(args)
        # Trainer's constructor opens the Hub repository already.
        self.publisher, self.calibrator = Publisher(args, save=self._save), HeadCalibrator(args)
        super().__init__(model, args, *others, **kwargs)
        refuse_loss_function(self.compute_loss_func)
        check_trainable(base_network(self.model))
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled or self.is_distributed_loading_by_transformers
        processes.refuse_unsupported_parallelism(sharded=sharded, devices=args.n_gpu)
        if args.label_names is None and not self.label_names:
            # Trainer reads them off the model's forward, and this one leaves the loss to others.
            self.label_names: list[str] = ["labels"]
        # Trainer sets it at each optimizer step, but a single training_step may come before the first.
        self.current_gradient_accumulation_steps = 1
        self.num_classes = number_of_classes(self.model)
        self.pixel_space = pixel_space or PixelSpace.from_processor(self.processing_class)
        logged_loss = checkpointer.StateOf(self._logged_loss, self._load_logged_loss)
        self.run = TrainingRun(
            args,
            pixel_space=self.pixel_space,
            num_classes=self.num_classes,
            accelerator=self.accelerator,
            log=self.log,
            trainer_class=type(self).__name__,
            parts=[checkpointer.Part("loss since the last log line", logged_loss)],
        )
        self.run_callback = RunCallback(self.run, begin_run=self.begin_run)
        self.add_callback(self.run_callback)
        self._owns_output_dir, self._interrupt, self._resume_checkpoint = False, InterruptRequest(), None

    @property
    def teacher(self) -> EMATeacher | None:
        """The moving average of the student, once training has begun; None where the method keeps none."""
        return self.run.teacher

    def published_model(self) -> nn.Module:
        """The weights that are saved and pushed: the student, or the teacher with ``publish='teacher'``."""
        return self.run.published(self.model)

    def train(self, resume_from_checkpoint: Any = None, trial: Any = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train, or continue a run from a checkpoint or, with True, from the newest whole one in ``output_dir``.

        Raises:
            CheckpointError: when there is no whole checkpoint, the named one is damaged, or of another run.
            FileExistsError, FolderInUseError: when ``output_dir`` holds another run, or another process trains there.
            WriteError, FloatingPointError: when a checkpoint cannot be written; when loss or weights are not finite.
            TrainingInterrupted: after Ctrl-C, SIGTERM, SIGHUP or SIGUSR1, once the step is finished and saved.
        """
        # Trainer trains wherever it is told, and takes the newest folder for a checkpoint, whole or not. Can go when
        # it has locks and manifests. Each trial of a search has a folder of its own.
        with own_folder(Path(self._get_output_dir(trial=trial)), "training", self.accelerator.state):
            self._resume_checkpoint = resume = find_checkpoint(Path(self.args.output_dir), resume_from_checkpoint)
            self.run.identity.hold_schedules(resume)
            if not self._owns_output_dir:
                take_over(Path(self.args.output_dir), resume, removes=self.args.should_save)
            self._owns_output_dir = True
            self.model_wrapped = processes.model_to_wrap(self.model, self.model_wrapped, self.args.world_size)
            try:
                with InterruptRequest() as self._interrupt:
                    return super().train(str(resume) if resume else None, trial, *args, **kwargs)
            finally:
                self.is_in_train = False

    def begin_run(self) -> None:
        """Refuse what would fail later, and set up the run or restore it."""
        self.publisher.figures.begin()
        forget_calibration(self.model)
        self.check_labels(self.train_dataset, name="train_dataset")
        if self.args.eval_strategy != IntervalStrategy.NO:
            self.check_labels(self.eval_dataset, name="eval_dataset")
        loader, size = self.callback_handler.train_dataloader, self.get_total_train_batch_size(self.args)
        self.run.begin(self.model, self.state, loader, resume=self._resume_checkpoint, total_batch_size=size)
        if self.calibrator.is_wanted:
            splits = self.calibrator.splits(self.eval_dataset, None, train_dataset=self.train_dataset)
            self.calibrator.refuse_unfoldable(self.model, self._first_images(splits["validation"]))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The method's loss of one batch in training mode, Trainer's own else; see :meth:`TrainingRun.loss`."""
        # Trainer's loss sees clean images, compute_loss_func finished outputs. Stays: it is what this trainer is for.
        compute = super().compute_loss
        loss, outputs = self.run.loss(
            model,
            self.model,
            inputs,
            self.state,
            self.callback_handler.train_dataloader,
            upstream=lambda given, images: compute(model, given, True, images),
            smooths=self.label_smoother is not None,
            takes_count=self.model_accepts_loss_kwargs,
            counted=num_items_in_batch,
            micro_batches=self.current_gradient_accumulation_steps,
        )
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        # Trainer has no hook after the backward pass, where perturbed weights come back, also when it raises.
        try:
            return super().training_step(*args, **kwargs)
        finally:
            self.run.method_step.restore_weights()

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        # Trainer counts a step's images for few models; small micro-batches weigh too much with others. Until it does.
        batches, counted = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.run.step_share.count(batches if counted is None else [], self.accelerator, device)
        return batches, counted

    def _run_epoch(self, model: nn.Module, epoch: int, train_dataloader: DataLoader, **kwargs: Any) -> None:
        # Trainer takes a step too many where a finished run whose max_steps end inside an epoch is continued.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        # accelerate does not forward the epoch to wrapped batch samplers; can go when DataLoaderShard.set_epoch does.
        columns.set_epoch(train_dataloader, epoch)
        super()._run_epoch(model=model, epoch=epoch, train_dataloader=train_dataloader, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        # Trainer logs its loss alone, and on_log cannot add figures to the line. Can go when it can.
        if "loss" in logs and self.is_in_train:
            logs |= self.run.method_step.meters.read(self.accelerator)
        super().log(logs, *args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        # Trainer's workers die of a signal to the whole run, before the step is saved. Can go when it shields them.
        return shield_workers(super().get_train_dataloader())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:  # As above.
        return shield_workers(super().get_eval_dataloader(eval_dataset))

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        # Trainer shuffles also a set whose order keeps a share of extra images a batch. Can go when sets may say no.
        dataset = self.train_dataset if train_dataset is None else train_dataset
        order = columns.order_of_its_own(dataset, self.args.train_sampling_strategy)
        return super()._get_train_sampler(train_dataset) if order is None else order

    def _remove_unused_columns(self, dataset: datasets.Dataset, *args: Any, **kwargs: Any) -> datasets.Dataset:
        # Trainer drops the image column that a transform is about to read. Can go when it asks for dataset.format.
        with self._choosing_columns() as chooses:
            keeps = chooses and columns.keeps_all_columns(dataset)
            return dataset if keeps else super()._remove_unused_columns(dataset, *args, **kwargs)

    def _get_collator_with_removed_columns(self, data_collator: columns.Collate, *args: Any, **kwargs: Any) -> Any:
        # As above, for rows of other data sets: only those that hold prepared images are stripped.
        with self._choosing_columns() as chooses:
            dropping = super()._get_collator_with_removed_columns(data_collator, *args, **kwargs)
        return columns.RowCollator(data_collator, dropping) if chooses else dropping

    @contextmanager
    def _choosing_columns(self) -> Iterator[bool]:
        """Whether columns are left to us, and the model's forward names its images; then Trainer drops the others."""
        self._set_signature_columns_if_needed()
        chooses = self.args.remove_unused_columns is None and columns.IMAGES in (self._signature_columns or ())
        with temporarily(self.args, remove_unused_columns=chooses or self.args.remove_unused_columns):
            yield chooses

    def check_labels(self, dataset: Any, *, name: str) -> None:
        """Refuse labels outside the model's classes; see :func:`adsr_hf.training.columns.check_labels`."""
        collate = self._get_collator_with_removed_columns(self.data_collator)
        columns.check_labels(dataset, name=name, num_classes=self.num_classes, collate=collate)

    def _first_images(self, dataset: Any) -> Batch:
        rows = columns.first_rows(dataset, self._get_collator_with_removed_columns(self.data_collator))
        return unpack(self._prepare_inputs(rows), self.num_classes)

    def create_optimizer(self, *args: Any) -> Optimizer:
        # Trainer has one learning rate for all layers. Can go when TrainingArguments has a decay by depth.
        given = self.optimizer is not None
        optimizer = super().create_optimizer(*args)
        optimization.split_by_depth(optimizer, args[0] if args else self.model, self.args.layer_decay, given=given)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        # transformers has no schedule that drops in steps. Can go when get_scheduler has one.
        drops, steps = self.args.learning_rate_drops, self.run.identity.held_schedule_steps or num_training_steps
        if drops and self.lr_scheduler is None:
            self.lr_scheduler: Any = optimization.dropping_schedule(optimizer or self.optimizer, drops, steps=steps)
            self._created_lr_scheduler = True
            return self.lr_scheduler
        return super().create_scheduler(num_training_steps, optimizer)

    @signature_of(Trainer.hyperparameter_search)
    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's search; by default for the figure that chooses the best checkpoint, or would by default."""
        # Trainer's default objective is the sum of all figures. Can go when it is metric_for_best_model.
        given = signature(super().hyperparameter_search).bind(*args, **kwargs).arguments
        for_backend = given.pop("kwargs", {})
        chosen = search_objective(self.args, given.get("compute_objective"), given.get("direction"))
        return super().hyperparameter_search(**(given | for_backend | chosen))

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        # Trainer measures clean images alone; robust figures are added to an evaluation, not a prediction. Stays. Its
        # loaders draw a seed from the global generator, which dropout goes on to use; can go when they have their own.
        given = description, prediction_loss_only, ignore_keys, metric_key_prefix
        with torch.random.fork_rng(devices=[]):
            if description == "Prediction":
                return super().evaluation_loop(dataloader, *given)
            self.check_labels(getattr(dataloader, "dataset", None), name="the evaluation set")
            watched, evaluator = self.run.watched(dataloader, self.model, prepare=self._prepare_inputs)
            output = super().evaluation_loop(watched, *given)
        self.callback_handler.eval_dataloader = dataloader
        figures = {f"{metric_key_prefix}_{name}": value for name, value in evaluator.figures().items()}
        return output._replace(metrics=figures | (output.metrics or {}))

    def _published_logits(self, dataset: Any) -> MeasuredLogits:
        """What the published weights now say about these images, clean and under the evaluation attack."""
        loader, prepare = self.get_test_dataloader(dataset), self._prepare_inputs
        watched, evaluator = self.run.watched(loader, self.model, prepare=prepare, published_alone=True)
        self.evaluation_loop(watched, "Prediction", prediction_loss_only=True, metric_key_prefix="calibration")
        return evaluator.measured()[""]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # Trainer's checkpoints may be half written when a run is cut off, while it deletes older ones. Can go when it
        # writes them whole or not at all.
        checkpoint = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        record = self.run.record(self.model, self.state, self.get_total_train_batch_size(self.args))
        with self.run.checkpointer.sealing(checkpoint, record, self.model, step=self.state.global_step):
            super()._save_checkpoint(model, trial)
        self.run.checkpointer.rotate(checkpoint, self.state.best_model_checkpoint)
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(checkpoint))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        # Trainer saves the student, adapters in PEFT's format, NaN or not. Stays: an ordinary checkpoint is published.
        with self.run.checkpointer.saving(output_dir, self.model, step=self.state.global_step):
            network, state_dict = checkpointer.network_to_save(self.model, self.run.published_teacher, state_dict)
            with temporarily(self, model=network):
                super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        # Trainer knows no teacher. Can go when ExportableState holds tensors.
        super()._save_optimizer_and_scheduler(output_dir)
        self.run.checkpointer.save_networks(Path(output_dir), self.model, self.teacher)

    def _save_rng_state(self, output_dir: str) -> None:
        # Trainer knows no generators but the global ones. Can go when ExportableState holds tensors.
        super()._save_rng_state(output_dir)
        self.run.checkpointer.save_parts(Path(output_dir))

    def _logged_loss(self) -> dict[str, Tensor]:
        return {"loss": self._tr_loss, "last_logged_step": torch.tensor(self._globalstep_last_logged)}

    def _load_logged_loss(self, state: dict[str, Tensor]) -> None:
        self._globalstep_last_logged = int(state["last_logged_step"])
        self._tr_loss += state["loss"].to(self._tr_loss.device)
        # The loss that Trainer returns is the mean over the steps of this call alone.
        self._total_loss_scalar -= self.accelerator.reduce(self._tr_loss.clone(), "mean").item()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        # Trainer skips weights that save_pretrained renamed, with a warning. Can go when it loads by from_pretrained.
        self.run.checkpointer.load_student(Path(resume_from_checkpoint), self.model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # Trainer names neither checkpoint nor setting where torch cannot read a file. Can go when it does.
        if checkpoint is not None:
            check_same_run(Path(checkpoint), self.run.identity.fine_tuning(self.model))
        with checkpointer.unreadable_files_name(checkpoint, "optimizer.pt or scheduler.pt"):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:  # As above.
        with checkpointer.unreadable_files_name(checkpoint, "rng_state"):
            super()._load_rng_state(checkpoint)

    def _load_best_model(self) -> None:
        # As in _load_from_checkpoint; Trainer also loads no teacher, and ends in a traceback where a file is damaged.
        self.run.load_best(self.model, self.state)
        self.publisher.figures.best_was_restored(self.state)

    def _finalize_training(self, trial: Any, *args: Any, **kwargs: Any) -> TrainOutput:
        # Trainer is silent where the best was not saved, and keeps it alone even where damaged. Goes when it verifies.
        best_checkpoint.warn_of_an_unsaved_best(self.state, self.args)
        with temporarily(self.args, save_total_limit=None):
            output = super()._finalize_training(trial, *args, **kwargs)
        best_checkpoint.remove_all_but_best(self.state, self.args)
        return output

    def _maybe_log_save_evaluate(
        self, tr_loss: Tensor, grad_norm: Any, model: nn.Module, trial: Any, *args: Any, **kwargs: Any
    ) -> None:
        # Trainer ends at once when interrupted; control.should_training_stop would evaluate and load the best. All
        # processes must stop at one step, whenever the signal came. Can go when JITCheckpointCallback waits for them.
        stopping = processes.any_process(self.accelerator, self._interrupt.requested)
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *args, **kwargs)
        if not stopping or not self.run_callback.may_stop(self.state, self.control):
            return
        if not self.run.checkpointer.has_saved(self.state.global_step):
            self._save_checkpoint(model, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
        self._finish_current_push()
        saved, resumable = str(self.run.checkpointer.last), not self.args.save_only_model
        raise TrainingInterrupted(saved, resumable=resumable, signum=self._interrupt.signum)

    def calibrate(self, dataset: Any = None, *, test_dataset: Any = None) -> dict[str, Any]:
        """Fold one temperature into the published weights, fitted on ``dataset`` (default: ``eval_dataset``).

        ``test_dataset`` is measured before and after, and nothing is fitted on it. A second call starts from the head
        as it then is. What is returned and raised: :meth:`adsr_hf.publishing.calibrator.HeadCalibrator.calibrate`.
        """
        images = self.eval_dataset if dataset is None else dataset
        splits = self.calibrator.splits(images, test_dataset, train_dataset=self.train_dataset)
        probe, again = self._first_images(splits["validation"]), self.publisher.figures.is_calibrated
        record, measured = self.calibrator.calibrate(
            self.model, self.run.average, splits, again=again, probe=probe, measure=self._published_logits
        )
        self.publisher.figures.head_was_calibrated(self.state, *list(measured.items())[-1])
        return record

    def card_facts(self, **given: Any) -> CardFacts:
        """What a card of the weights as they now are would state; ``given`` sets fields of CardFacts."""
        run = {"teacher": self.run.published_teacher is not None, "ended": not self.is_in_train}
        facts = {"classes": self.num_classes, "data": self.data_description} | given
        return self.publisher.facts(self.model, self.state, repository=self.hub_model_id, **run, **facts)

    @signature_of(Trainer.create_model_card)
    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write ``README.md`` to ``output_dir``; takes what ``transformers.Trainer.create_model_card`` takes."""
        # Trainer's card states figures of other weights, local paths, and no attack. Stays: a card is the method's.
        if self.is_world_process_zero():
            given = signature(super().create_model_card).bind(*args, **kwargs).arguments
            self.publisher.write_card(self.card_facts(**facts_given(self.data_description, **given)))

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        # Trainer ends in a traceback where the Hub cannot be reached. Can go when it says what is wrong.
        if self.is_world_process_zero():
            self.hub_model_id: Any = self.publisher.open_repository(token=token, private=private)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Save to ``output_dir``, then upload what belongs to the model; ``kwargs`` go to :meth:`create_model_card`.

        Raises PublishingError when the Hub cannot be reached or refuses; ``output_dir`` is complete by then.
        """
        # Trainer uploads all that lies in output_dir. Can go when it uploads what save_model writes.
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_model(_internal_call=True)
        self.create_model_card(**kwargs)
        if not self.is_world_process_zero():
            return None

        def open_repository() -> str:
            if self.hub_model_id is None:
                self.init_hf_repo(token=token, private=private)
                self.create_model_card(**kwargs)
            self._finish_current_push()
            return str(self.hub_model_id)

        where: Any = {"token": token or self.args.hub_token, "revision": revision, "background": not blocking}
        return self.publisher.push(commit_message, self.hub_model_id, open_repository=open_repository, **where)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # Trainer uploads the folder that training writes into, and is silent where it fails. Can go with push_to_hub.
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        repository, earlier = str(self.hub_model_id), self.push_in_progress
        self.publisher.report_failures(earlier, repository)
        if not self.publisher.waits_for(earlier):
            self.callback_handler.on_push_begin(self.args, self.state, self.control)
            self.create_model_card()
            self.push_in_progress = self.publisher.push_checkpoint(checkpoint_folder, repository, self.state, earlier)

    def _finish_current_push(self) -> None:  # As above.
        super()._finish_current_push()
        self.publisher.report_failures(self.push_in_progress, self.hub_model_id)
