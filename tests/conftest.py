import gc
import os

# Before transformers and datasets are imported: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
import transformers


def pytest_collection_finish() -> None:
    # Trainer collects garbage several times a run, and each time would look at every object of the libraries: a third
    # of a second where training takes less.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _quiet_and_single_threaded() -> None:
    # Tiny tensors: a second thread costs more than it gives, and sums come out the same on every machine.
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(autouse=True, scope="module")
def _modules_loaded_on_the_way_are_not_looked_at_again() -> None:
    gc.freeze()
