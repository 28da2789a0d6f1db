"""Publishing what belongs to a model and nothing else: weights, config, processor, card, training arguments."""

import shlex
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerState
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress, hf_api

from adsr_hf.config import ADSRConfig
from adsr_hf.networks import OWN_NETWORKS
from adsr_hf.networks.adapted import base_network, number_of_parameters
from adsr_hf.publishing import hub
from adsr_hf.publishing.calibrator import calibration_facts
from adsr_hf.publishing.card_facts import CardFacts, DataDescription, hub_name
from adsr_hf.publishing.card_settings import evaluation_attack, method_in_words, recipe_settings
from adsr_hf.publishing.published_figures import PublishedFigures
from adsr_hf.records.files import write_bytes
from adsr_hf.records.machine import package_versions

logger = logging.get_logger(__name__)

CARD_FILE = "README.md"


class Publisher:
    """Writes a run's card, and uploads from a folder that holds what is published and nothing else.

    Nothing else that lies in ``output_dir`` is published, and training may go on writing while an upload runs.

    Attributes:
        figures: which of the logged figures are those of the published weights.

    Args:
        args: the run's settings.
        save: writes weights, config, processor and arguments into a folder.
    """

    def __init__(self, args: ADSRConfig, *, save: Callable[[str], None]) -> None:
        self._args, self._save = args, save
        self.figures = PublishedFigures()

    @property
    def card_path(self) -> Path:
        """Where the card of the run lies."""
        return Path(self._args.output_dir) / CARD_FILE

    def repository_name(self, opened: str | None) -> str:
        """What the Hub repository is called, or will be: as it was opened, as the settings say, or as the folder."""
        return opened or self._args.hub_model_id or Path(self._args.output_dir).absolute().name

    # ---- the card ------------------------------------------------------------------------------------------------

    def facts(
        self,
        model: nn.Module,
        state: TrainerState,
        *,
        repository: str | None,
        teacher: bool,
        ended: bool,
        **given: Any,
    ) -> CardFacts:
        """What a card of the weights as they now are would state.

        Args:
            model: the bare student.
            repository: of the Hub, where it is open.
            teacher: whether the weights are the teacher's.
            ended: whether training is over.
            given: fields of CardFacts to set; ``name``, ``base_model`` and ``classes`` may be None for the run's own.
        """
        args, network, figures = self._args, base_network(model), self.figures
        described: dict[str, Any] = {
            "name": self.repository_name(repository).rpartition("/")[2],
            "base_model": hub_name(str(getattr(network.config, "_name_or_path", ""))),
        }
        return CardFacts(
            repository=self.repository_name(repository),
            architecture=type(network).__name__,
            parameters=number_of_parameters(model),
            weights="teacher" if teacher else "student",
            method=method_in_words(args),
            attacks=args.attacks,
            threat=str(args.threat),
            settings=recipe_settings(args, total_steps=state.max_steps),
            attack=evaluation_attack(args),
            measurements=figures.of(state, "teacher_" if teacher else ""),
            selected=figures.is_best,
            step=figures.step(state),
            total_steps=figures.step(state) if ended else state.max_steps,
            versions=package_versions(),
            own_network=isinstance(network, OWN_NETWORKS),
            calibration=calibration_facts(model),
            tags=(*given.pop("tags", ()), *_listed(getattr(model, "model_tags", None))),
            **(described | {name: value for name, value in given.items() if value is not None}),
        )

    def write_card(self, facts: CardFacts) -> None:
        """Write the card to ``output_dir``: the old file, or the whole new one, at any instant."""
        write_bytes(self.card_path, str(hub.model_card(facts)).encode())

    # ---- uploading -----------------------------------------------------------------------------------------------

    def open_repository(self, *, token: str | None, private: bool | None) -> str:
        """Create the Hub repository, or find it; its full name.

        Raises:
            PublishingError: when the Hub cannot be reached or refuses.
        """
        name = self.repository_name(None)
        with hub.explained(f"repository {name} could not be created or opened on the Hub"):
            url = hf_api().create_repo(
                name,
                token=token or self._args.hub_token,
                private=self._args.hub_private_repo if private is None else private,
                exist_ok=True,
            )
        return str(url.repo_id)

    def push(
        self,
        message: str | None,
        repository: str | None,
        *,
        open_repository: Callable[[], str],
        token: str | None,
        revision: str | None,
        background: bool,
    ) -> Any:
        """Upload what is published now, card included: a CommitInfo, or a Future of one.

        Args:
            repository: its full name where it is open already; where to push later is said with it.
            open_repository: opens it where it is not, puts its name on the card, waits for earlier pushes; its name.

        Raises:
            PublishingError: when the Hub cannot be reached or refuses. ``output_dir`` is complete by then.
        """
        with ExitStack() as cleanup:
            staged = self._stage(cleanup)
            try:
                repository = open_repository()
                # Now the card names the repository in full.
                shutil.copy(self.card_path, staged)
                with hub.explained(f"nothing was uploaded to the Hub repository {repository}"):
                    return self._upload(
                        repository, staged, cleanup, message, token=token, revision=revision, background=background
                    )
            except hub.PublishingError as error:
                raise hub.PublishingError(f"{error}. {self._how_to_push_later(staged, repository)}") from error

    def push_checkpoint(self, checkpoint: str, repository: str, state: TrainerState, earlier: Any) -> Any:
        """Upload in the background what is published now, and the checkpoint where ``hub_strategy`` asks for it.

        Args:
            earlier: the push in progress, or None.

        Returns:
            the pushes in progress afterwards.
        """
        args = self._args
        when = (
            f"step {state.global_step}"
            if args.save_strategy == SaveStrategy.STEPS
            else f"epoch {int(state.epoch or 0)}"
        )
        message, token = f"Training in progress, {when}", args.hub_token
        with ExitStack() as cleanup:
            staged = self._stage(cleanup)
            jobs = [self._upload(repository, staged, cleanup, message, token=token, revision=None, background=True)]
        if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            last = args.hub_strategy == HubStrategy.CHECKPOINT
            jobs.append(
                hf_api().upload_folder(
                    repo_id=repository,
                    folder_path=checkpoint,
                    path_in_repo="last-checkpoint" if last else Path(checkpoint).name,
                    commit_message=f"{message}, checkpoint",
                    token=token,
                    run_as_future=True,
                    revision=args.hub_revision,
                )
            )
        return PushInProgress([*(earlier.jobs if earlier is not None else []), *jobs])

    def waits_for(self, earlier: Any) -> bool:
        """Whether a push during training is left out, since an earlier one still runs."""
        return earlier is not None and bool(earlier.jobs) and not self._args.hub_always_push

    def report_failures(self, push: Any, repository: str | None) -> None:
        """Warn about uploads in the background that failed, of which Trainer says nothing, and forget those done."""
        if push is None:
            return
        done = [job for job in push.jobs if job.done()]
        push.jobs = [job for job in push.jobs if job not in done]
        for job in done:
            if (error := job.exception()) is not None:
                logger.warning(
                    f"a push to the Hub repository {repository} during training failed: {hub.cause_of(error)}. "
                    "Training is not affected; the next push uploads everything again"
                )

    def _stage(self, cleanup: ExitStack) -> Path:
        """A new folder that holds what is published and nothing else, until ``cleanup`` is closed."""
        # In output_dir, where there is room for weights. Nothing else there is named like it.
        folder = tempfile.TemporaryDirectory(prefix="_publishing-", dir=self._args.output_dir)
        staged = Path(cleanup.enter_context(folder))
        self._save(str(staged))
        shutil.copy(self.card_path, staged)
        return staged

    def _upload(
        self,
        repository: str,
        staged: Path,
        cleanup: ExitStack,
        message: str | None,
        *,
        token: str | None,
        revision: str | None,
        background: bool,
    ) -> Any:
        """Upload a staged folder: a CommitInfo, or a Future of one that cleans up when it is done."""
        result = hf_api().upload_folder(
            repo_id=repository,
            folder_path=str(staged),
            commit_message=message,
            token=token,
            revision=revision or self._args.hub_revision,
            run_as_future=background,
        )
        if background:
            until_done = cleanup.pop_all()
            result.add_done_callback(lambda _: until_done.close())
        return result

    def _how_to_push_later(self, staged: Path, repository: str | None) -> str:
        names = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
        included = [word for name in names for word in ("--include", name)]
        folder = str(self._args.output_dir)
        command = shlex.join(["hf", "upload", self.repository_name(repository), folder, ".", *included])
        return (
            f"Nothing is lost: {folder} holds the model and its card. Push later with trainer.push_to_hub(), or with: "
            f"{command}"
        )


def facts_given(
    description: DataDescription | None,
    *,
    model_name: str | None = None,
    finetuned_from: str | None = None,
    license: str | None = None,
    language: str | list[str] | None = None,
    tags: str | list[str] | None = None,
    tasks: str | list[str] | None = None,
    dataset_tags: str | list[str] | None = None,
    dataset: str | list[str] | None = None,
    dataset_args: str | list[str] | None = None,
) -> dict[str, Any]:
    """Fields of CardFacts from what ``Trainer.create_model_card`` takes.

    Args:
        description: the run's own of its data, which ``dataset_tags`` (Hub names), ``dataset`` (names) and
            ``dataset_args`` (configurations) replace.
        model_name: title.
        finetuned_from: Hub name of the checkpoint that training started from.
        license, language: metadata.
        tags, tasks: further tags.
    """
    if dataset or dataset_tags:
        hub_names = _listed(dataset_tags)
        description = DataDescription(
            name=", ".join(_listed(dataset) or hub_names),
            hub_name=hub_names[0] if hub_names else None,
            config=", ".join(_listed(dataset_args)) or None,
        )
    return {
        "name": model_name,
        "base_model": finetuned_from,
        "license": license,
        "languages": tuple(_listed(language)),
        "tags": (*_listed(tags), *_listed(tasks)),
        "data": description,
    }


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
