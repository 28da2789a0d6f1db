"""torch.compile: the same training, up to rounding."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_model, tiny_trainer


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(("family", "precision"), [("vit", "bf16"), ("resnet", "float32")])
def test_compiled_training_agrees_with_eager(tmp_path: Path, family: str, precision: str) -> None:
    settings = {"attack_precision": precision, "attack_random_start": False, "optim": "sgd", "learning_rate": 0.05}
    eager, compiled = (
        tiny_trainer(tmp_path / str(flag), model=tiny_model(family), torch_compile=flag, **settings)
        for flag in (False, True)
    )
    eager.train()
    compiled.train()
    for first, second in zip(eager.state.log_history[:3], compiled.state.log_history[:3], strict=True):
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-3)
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=0.01)
    for (name, first), second in zip(eager.model.named_parameters(), compiled.model.parameters(), strict=True):
        torch.testing.assert_close(second, first, atol=1e-3, rtol=0, msg=name)
    assert compiled.evaluate()["eval_loss"] == pytest.approx(eager.evaluate()["eval_loss"], rel=1e-2)
    compiled.save_model(str(tmp_path / "published"))
    restored = type(eager.model).from_pretrained(tmp_path / "published")
    for name, value in compiled.model.state_dict().items():
        assert torch.equal(restored.state_dict()[name], value)
