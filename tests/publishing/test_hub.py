"""Push and pull for real: the Hub client against a small Hub on 127.0.0.1, then a stranger who has no adsr_hf."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageClassification

from adsr_hf.records.folder_lock import LOCK_FILE
from tests.hub_server import Hub
from tests.tiny import TinyImages

ROOT = Path(__file__).parents[2]
TOKEN = "hf_theTokenThatNobodyMaySee"
PUBLISHED = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", "training_args.bin"}
RUNS = ("student", "teacher")


@dataclass
class Pushed:
    """What the worker left: its folder, the Hub, what it found, and its environment and output."""

    folder: Path
    hub: Hub
    result: dict[str, Any]
    logits: dict[str, Tensor]
    environment: dict[str, str]
    output: str


def run(command: list[str], environment: dict[str, str], cwd: Path = ROOT) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("hub")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    with Hub(TOKEN) as hub:
        settings = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
        }
        environment = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_TOKEN_PATH")}
        environment |= settings
        output = run([sys.executable, "-m", "tests.publishing_worker", str(folder), TOKEN], environment)
        result = json.loads((folder / "result.json").read_text())
        yield Pushed(folder, hub, result, load_file(folder / "logits.safetensors"), environment, output)


@pytest.fixture(scope="module")
def loaded(pushed: Pushed) -> dict[str, Tensor]:
    """Logits by a stranger in another process, from the Hub and from the folders."""
    result, inputs = pushed.folder / "loaded.safetensors", pushed.folder / "inputs.safetensors"
    save_file({"pixel_values": TinyImages(8).pixel_values}, inputs)
    sources = [*(f"tester/{name}" for name in RUNS), *(str(pushed.folder / name) for name in RUNS)]
    worker = str(ROOT / "tests" / "loading_worker.py")
    files = [str(result), str(pushed.folder / "image.png"), str(inputs)]
    run([sys.executable, worker, *files, *sources], pushed.environment, cwd=pushed.folder)
    return load_file(result)


def card_of(pushed: Pushed, name: str, commit: int = -1) -> ModelCard:
    return ModelCard(pushed.hub.repositories[f"tester/{name}"].commits[commit][1]["README.md"].decode())


@pytest.mark.parametrize("name", RUNS)
class TestRoundTrip:
    def test_a_stranger_gets_the_same_logits_bit_for_bit(
        self, pushed: Pushed, loaded: dict[str, Tensor], name: str
    ) -> None:
        for source in (f"tester/{name}", str(pushed.folder / name)):
            assert torch.equal(loaded[f"{source} model"], pushed.logits[f"{name} end"])
            assert torch.equal(loaded[f"{source} pipeline"], pushed.logits[f"{name} image"])
            scores = pushed.logits[f"{name} image"].softmax(-1)[0]
            torch.testing.assert_close(loaded[f"{source} scores"], scores)

    def test_pushes_during_training_hold_the_weights_of_their_step(
        self, pushed: Pushed, name: str, tmp_path: Path
    ) -> None:
        commits = pushed.hub.repositories[f"tester/{name}"].commits
        assert [title for title, _ in commits] == [
            "Training in progress, step 2",
            "Training in progress, step 4",
            "End of training",
        ]
        for step, (_, files) in zip((2, 4), commits[:2], strict=True):
            folder = tmp_path / str(step)
            folder.mkdir()
            for path, content in files.items():
                (folder / path).write_bytes(content)
            model = AutoModelForImageClassification.from_pretrained(folder).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    # Mapped from the file they lie unaligned, which changes the last bit of sums.
                    parameter.data = parameter.data.clone()
                logits = model(pixel_values=TinyImages(8).pixel_values).logits
            assert torch.equal(logits, pushed.logits[f"{name} step {step}"])

    def test_only_what_belongs_goes_up(self, pushed: Pushed, name: str) -> None:
        for _, files in pushed.hub.repositories[f"tester/{name}"].commits:
            assert set(files) == PUBLISHED
        left = {path.name for path in (pushed.folder / name).iterdir()}
        assert left == PUBLISHED | {LOCK_FILE, "run.json", "private.txt", "checkpoint-2", "checkpoint-4"}

    def test_the_card_states_threat_and_sample_sizes(self, pushed: Pushed, name: str) -> None:
        card = card_of(pushed, name)
        for words in (
            "Linf 8/255",
            "PGD-2 × 1 restart",
            "On 20 test images",
            "upper bounds",
            "AutoAttack was not run",
        ):
            assert words in card.text
        assert f"(the {name})" in card.text
        assert (pushed.folder / name / "README.md").read_text() == str(card)
        assert {result.dataset_args["images"] for result in card.data.eval_results} == {20}
        early = card_of(pushed, name, commit=0)
        assert "They have seen 2 optimizer steps of 4: training was still in progress" in early.text
        assert "On 24 validation images" in early.text

    def test_the_metadata_reads_back(self, pushed: Pushed, name: str) -> None:
        metadata = metadata_load(pushed.folder / name / "README.md")
        assert metadata is not None
        assert metadata["library_name"] == "transformers"
        assert metadata["pipeline_tag"] == "image-classification"
        (index,) = metadata["model-index"]
        (measured,) = index["results"]
        assert [metric["type"] for metric in measured["metrics"]] == [
            *["accuracy"] * 2,
            *["expected_calibration_error"] * 2,
        ]
        assert measured["metrics"][1]["args"]["threat"] == "Linf 8/255"


def test_the_figures_are_those_of_the_published_network(pushed: Pushed) -> None:
    """The figures of the card, computed again from the weights on the Hub."""
    images = TinyImages(20, seed=5)
    for name in RUNS:
        model = AutoModelForImageClassification.from_pretrained(pushed.folder / name).eval()
        with torch.no_grad():
            probabilities = model(pixel_values=images.pixel_values).logits.double().softmax(1)
        confidence = probabilities.amax(1).mean().item()
        accuracy = (probabilities.argmax(1) == images.labels).double().mean().item()
        card = card_of(pushed, name)
        assert card.data.eval_results[0].metric_value == pytest.approx(accuracy)
        assert f"| mean confidence, clean images | {confidence:.1%} |" in card.text


def test_the_best_checkpoint_is_published_as_such(pushed: Pushed) -> None:
    state = json.loads((pushed.folder / "teacher" / "checkpoint-4" / "trainer_state.json").read_text())
    best = state["best_global_step"]
    assert f"They have seen {best} optimizer steps.\n" in card_of(pushed, "teacher").text
    assert torch.equal(pushed.logits["teacher end"], pushed.logits[f"teacher step {best}"])


def test_the_command_line_pushes_what_it_measured(pushed: Pushed) -> None:
    assert pushed.result["adsr"]["digits"] == 0
    files = pushed.hub.repositories["tester/digits"].files
    assert set(files) == PUBLISHED
    record = json.loads((pushed.folder / "digits" / "run.json").read_text())
    card = card_of(pushed, "digits")
    assert card.data.eval_results[0].metric_value == pytest.approx(record["test"]["test_accuracy"], abs=1e-6)
    assert "digits: 40 train / 30 validation / 30 test images" in card.text
    assert str(pushed.folder) not in str(card)


def test_the_token_is_in_no_byte_that_was_written_or_pushed(pushed: Pushed) -> None:
    secret = TOKEN.encode()
    written = [path for path in pushed.folder.rglob("*") if path.is_file()]
    assert {"training_args.bin", "run.json"} <= {path.name for path in written}
    assert [path for path in written if secret in path.read_bytes()] == []
    assert not any(secret in body for body in pushed.hub.bodies)
    for repository in pushed.hub.repositories.values():
        assert not any(secret in content for _, files in repository.commits for content in files.values())
    assert TOKEN not in pushed.output


class TestFailures:
    def test_a_refused_token_is_told_before_training(self, pushed: Pushed) -> None:
        message = pushed.result["refused"]["start"]
        assert "repository start could not be created" in message
        assert "401" in message
        assert "hf auth login" in message
        assert "HF_TOKEN" in message
        assert pushed.result["adsr"]["digits-refused"] == 1
        assert "adsr: error: repository tester/digits-refused could not be created" in pushed.output

    @pytest.mark.parametrize("where", ["end", "existing"])
    def test_a_refused_token_at_the_end_loses_nothing(self, pushed: Pushed, where: str) -> None:
        message = pushed.result["refused"][where]
        assert "hf auth login" in message
        assert "Nothing is lost" in message
        assert {path.name for path in (pushed.folder / "refused").iterdir()} == PUBLISHED | {LOCK_FILE}
        assert "tester/refused" not in pushed.hub.repositories

    def test_training_outlives_the_hub(self, pushed: Pushed) -> None:
        found = pushed.result["unreachable"]
        assert found["steps"] == 3
        assert found["warnings"]
        assert all("during training failed" in warning for warning in found["warnings"])
        assert "nothing was uploaded to the Hub repository tester/unreachable" in found["message"]
        assert "Check the connection" in found["message"]

    def test_the_command_in_the_message_pushes_later(self, pushed: Pushed) -> None:
        found = re.search(r"or with: (hf upload .*)$", pushed.result["unreachable"]["message"])
        assert found is not None
        _, *words = shlex.split(found[1])
        hf = str(Path(sys.executable).parent / "hf")
        run([hf, *words], pushed.environment | {"HF_TOKEN": TOKEN})
        folder = pushed.folder / "unreachable"
        files = pushed.hub.repositories["tester/unreachable"].files
        assert files == {name: (folder / name).read_bytes() for name in PUBLISHED}
