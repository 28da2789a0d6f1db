"""A Trainer that publishes what belongs to a model and nothing else: weights, config, processor, card, arguments."""

import shlex
import shutil
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress, hf_api

from adsr_hf.networks import OWN_NETWORKS
from adsr_hf.networks.adapted import base_network, number_of_parameters
from adsr_hf.publishing import hub
from adsr_hf.publishing.card_facts import CardFacts, DataDescription, Measurement, hub_name, measurements
from adsr_hf.publishing.card_settings import evaluation_attack, method_in_words, recipe_settings
from adsr_hf.records.files import write_bytes
from adsr_hf.trainer_attack import AttackingTrainer

logger = logging.get_logger(__name__)

CARD_FILE = "README.md"

_PACKAGES = ("adsr_hf", "torch", "transformers", "accelerate", "datasets")


class PublishingTrainer(AttackingTrainer):
    """Trainer whose pushes, at the end and during training, carry a card of what was really measured.

    Every push is made from a folder of its own that holds what ``save_model`` writes, and the card: nothing else that
    lies in ``output_dir`` is published, and training may go on writing while an upload runs.

    Attributes:
        data_description: what the card says about the data; set it before training, or leave it None.
    """

    data_description: DataDescription | None = None
    _restored_best_at: int | None = None

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Create the Hub repository, or find it; see ``transformers.Trainer.init_hf_repo``.

        Raises:
            PublishingError: when the Hub cannot be reached or refuses; with ``push_to_hub=True`` before training.
        """
        if not self.is_world_process_zero():
            return
        name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        with hub.explained(f"repository {name} could not be created or opened on the Hub"):
            url = hf_api().create_repo(
                name,
                token=token or self.args.hub_token,
                private=self.args.hub_private_repo if private is None else private,
                exist_ok=True,
            )
        self.hub_model_id = url.repo_id
        self.push_in_progress: PushInProgress | None = None

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Save to ``output_dir``, then upload weights, config, processor, card and training arguments.

        See ``transformers.Trainer.push_to_hub`` for the arguments; ``kwargs`` go to :meth:`create_model_card`.

        Raises:
            PublishingError: when the Hub cannot be reached or refuses. ``output_dir`` is complete by then.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**kwargs)
        token = token or self.args.hub_token
        with ExitStack() as cleanup:
            staged = self._stage(cleanup)
            try:
                if self.hub_model_id is None:
                    self.init_hf_repo(token=token, private=private)
                    # Now the card can name the repository in full.
                    self.create_model_card(**kwargs)
                    shutil.copy(self._card_path(), staged)
                self._finish_current_push()
                with hub.explained(f"nothing was uploaded to the Hub repository {self.hub_model_id}"):
                    return self._upload(
                        staged, cleanup, commit_message, token=token, revision=revision, background=not blocking
                    )
            except hub.PublishingError as error:
                raise hub.PublishingError(f"{error}. {self._how_to_push_later(staged)}") from error

    def create_model_card(
        self,
        language: str | list[str] | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write ``README.md`` to ``output_dir``: the old file, or the whole new one, at any instant.

        Args:
            language, license: metadata; None = not stated.
            tags, tasks: further tags.
            model_name: title; None = the repository's name.
            finetuned_from: Hub name of the checkpoint that training started from; None = the model's own, if known.
            dataset_tags, dataset, dataset_args: Hub name, name and configuration of the data, instead of
                ``data_description``.
        """
        if not self.is_world_process_zero():
            return
        description = self.data_description
        if dataset or dataset_tags:
            names = _listed(dataset_tags)
            description = DataDescription(
                name=", ".join(_listed(dataset) or names),
                hub_name=names[0] if names else None,
                config=", ".join(_listed(dataset_args)) or None,
            )
        facts = self.card_facts(
            name=model_name,
            base_model=finetuned_from,
            license=license,
            languages=tuple(_listed(language)),
            tags=(*_listed(tags), *_listed(tasks), *_listed(getattr(self.model, "model_tags", None))),
            data=description,
        )
        write_bytes(self._card_path(), str(hub.model_card(facts)).encode())

    def card_facts(self, *, name: str | None = None, base_model: str | None = None, **given: Any) -> CardFacts:
        """What a card of the weights as they now are would state; ``given`` sets fields of CardFacts."""
        args, model = self.args, base_network(self.model)
        folder = Path(args.output_dir).absolute().name
        repository = self.hub_model_id or args.hub_model_id or folder
        teacher = args.publish == "teacher" and self.teacher is not None
        origin = base_model or hub_name(str(getattr(model.config, "_name_or_path", "")))
        return CardFacts(
            name=name or repository.rpartition("/")[2],
            repository=repository,
            architecture=type(model).__name__,
            parameters=number_of_parameters(self.model),
            classes=self.num_classes,
            weights="teacher" if teacher else "student",
            method=method_in_words(args),
            attacks=args.attacks,
            threat=str(args.threat),
            settings=recipe_settings(args, total_steps=self.state.max_steps),
            attack=evaluation_attack(args),
            measurements=self._measurements("teacher_" if teacher else ""),
            selected=self._restored_best_at is not None,
            step=self._published_step(),
            total_steps=self.state.max_steps if self.is_in_train else self._published_step(),
            versions={package: version(package) for package in _PACKAGES},
            base_model=origin,
            own_network=isinstance(model, OWN_NETWORKS),
            **({"data": self.data_description} | given),
        )

    # ---- which figures are those of the published weights ----------------------------------------------------------

    def begin_run(self) -> None:
        super().begin_run()
        self._restored_best_at = None

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._restored_best_at = len(self.state.log_history)

    def _published_step(self) -> int:
        best = self.state.best_global_step if self._restored_best_at is not None else None
        return int(self.state.global_step if best is None else best)

    def _measurements(self, prefix: str) -> tuple[Measurement, ...]:
        history = self.state.log_history
        # Trainer keeps counting the last step when it has gone back to the best weights.
        now = measurements(history[self._restored_best_at or 0 :], step=self.state.global_step, prefix=prefix)
        return now or measurements(history, step=self._published_step(), prefix=prefix)

    # ---- uploading -------------------------------------------------------------------------------------------------

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        self._report_failed_pushes()
        pending = self.push_in_progress.jobs if self.push_in_progress is not None else []
        if pending and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        by_steps = self.args.save_strategy == SaveStrategy.STEPS
        when = f"step {self.state.global_step}" if by_steps else f"epoch {int(self.state.epoch or 0)}"
        message, token = f"Training in progress, {when}", self.args.hub_token
        self.create_model_card()
        with ExitStack() as cleanup:
            jobs = [self._upload(self._stage(cleanup), cleanup, message, token=token, background=True)]
        if self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = self.args.hub_strategy == HubStrategy.CHECKPOINT
            jobs.append(
                hf_api().upload_folder(
                    repo_id=self.hub_model_id,
                    folder_path=checkpoint_folder,
                    path_in_repo="last-checkpoint" if last else Path(checkpoint_folder).name,
                    commit_message=f"{message}, checkpoint",
                    token=token,
                    run_as_future=True,
                    revision=self.args.hub_revision,
                )
            )
        self.push_in_progress = PushInProgress([*pending, *jobs])

    def _stage(self, cleanup: ExitStack) -> Path:
        """A new folder that holds what is published and nothing else, until ``cleanup`` is closed."""
        # In output_dir, where there is room for weights. Nothing else there is named like it.
        folder = tempfile.TemporaryDirectory(prefix="_publishing-", dir=self.args.output_dir)
        staged = Path(cleanup.enter_context(folder))
        self._save(str(staged))
        shutil.copy(self._card_path(), staged)
        return staged

    def _upload(
        self,
        staged: Path,
        cleanup: ExitStack,
        message: str | None,
        *,
        token: str | None,
        revision: str | None = None,
        background: bool,
    ) -> Any:
        """Upload a staged folder: a CommitInfo, or a Future of one that cleans up when it is done."""
        result = hf_api().upload_folder(
            repo_id=self.hub_model_id,
            folder_path=str(staged),
            commit_message=message,
            token=token,
            revision=revision or self.args.hub_revision,
            run_as_future=background,
        )
        if background:
            until_done = cleanup.pop_all()
            result.add_done_callback(lambda _: until_done.close())
        return result

    def _finish_current_push(self) -> None:
        super()._finish_current_push()
        self._report_failed_pushes()

    def _report_failed_pushes(self) -> None:
        """Warn about uploads in the background that failed, of which Trainer says nothing, and forget those done."""
        push = getattr(self, "push_in_progress", None)
        if push is None:
            return
        done = [job for job in push.jobs if job.done()]
        push.jobs = [job for job in push.jobs if job not in done]
        for job in done:
            if (error := job.exception()) is not None:
                logger.warning(
                    f"a push to the Hub repository {self.hub_model_id} during training failed: "
                    f"{hub.cause_of(error)}. Training is not affected; the next push uploads everything again"
                )

    def _card_path(self) -> Path:
        return Path(self.args.output_dir) / CARD_FILE

    def _how_to_push_later(self, staged: Path) -> str:
        names = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
        repository = self.hub_model_id or self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        included = [word for name in names for word in ("--include", name)]
        command = shlex.join(["hf", "upload", repository, self.args.output_dir, ".", *included])
        return (
            f"Nothing is lost: {self.args.output_dir} holds the model and its card. Push later with "
            f"trainer.push_to_hub(), or with: {command}"
        )


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
