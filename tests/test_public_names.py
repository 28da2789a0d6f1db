"""Names that other people's code may rely on, as docs and design promise them."""

import subprocess
import sys

import torch

import adsr_hf
from adsr_hf import method


def test_former_modules_are_handed_out() -> None:
    assert adsr_hf.targets.rectify_labels is method.rectify_labels
    assert adsr_hf.schedules.cosine_anneal is method.cosine_anneal
    assert adsr_hf.teacher.EMATeacher is method.EMATeacher


def test_an_attack_is_built_as_before() -> None:
    from adsr_hf.attacks import PGD, ThreatModel

    attack = PGD(
        ThreatModel.parse("Linf 8/255"),
        num_steps=10,
        step_size=None,
        random_start=True,
        restarts=1,
        loss="cross_entropy",
        targeted=False,
    )
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])
    found = attack.attack(lambda pixels: pixels.flatten(1)[:, :2], images, labels, generator=torch.Generator())
    assert (found.shape, found.dtype) == (images.shape, torch.float32)


def test_former_places_of_names_hand_them_out() -> None:
    from adsr_hf.evaluation import compare, decide, evaluate
    from adsr_hf.fine_tuning.freezing import freeze
    from adsr_hf.fine_tuning.lora import add_adapters, merged_copy
    from adsr_hf.fine_tuning.resizing import resize_network, resize_processor

    assert compare.__module__ == "adsr_hf.decision.compare"
    assert decide.__module__ == "adsr_hf.decision.gate"
    assert all(map(callable, (evaluate, freeze, add_adapters, merged_copy, resize_network, resize_processor)))


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, adsr_hf; print(sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
