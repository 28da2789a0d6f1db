"""Every benchmark runs and writes a whole record. No time is judged here: the machine may be busy."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import attack_precision, data_loading, evaluation_estimate, import_time, peak_memory, step_cost

ROOT = Path(__file__).parents[2]
MACHINE = {
    "cpu",
    "cpu_capability",
    "cores",
    "ram_gigabytes",
    "os",
    "python",
    "torch_threads",
    "load_average_before",
    "versions",
}


def check(record: dict[str, Any], name: str, ratios: set[str], repeats: int) -> None:
    assert record["schema_version"] == 1
    assert record["benchmark"] == name
    assert record["machine"].keys() == MACHINE
    assert record["machine"]["versions"].keys() >= {"torch", "transformers", "adsr_hf"}
    assert record["seed"] == 3
    assert record["settings"]["repeats"] == repeats
    assert record["ratios"].keys() == ratios
    for ratio in record["ratios"].values():
        assert len(ratio["values"]) == repeats
        assert all(math.isfinite(value) and value > 0 for value in ratio["values"])
        assert min(ratio["values"]) <= ratio["quartile_1"] <= ratio["median"] <= ratio["quartile_3"]
    for values in record["raw"].values():
        assert len(values) == repeats
        assert all(math.isfinite(value) and value >= 0 for value in values)
    for target in record["targets"]:
        assert target["met"] == (target["measured"] <= target["limit"])


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def measure(main: Callable[[list[str]], Any], *options: str) -> dict[str, Any]:
        path = tmp_path / "results" / "record.json"
        main(["--smoke", "--repeats", "2", "--seed", "3", "--output", str(path), *options])
        return json.loads(path.read_text(encoding="utf-8"))

    return measure


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_step_cost(
    measured: Callable[..., dict[str, Any]], precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = measured(step_cost.main, "--attack-precision", precision)
    floor = "floor of adsr/pgd_at, from the passes measured"
    methods = {"clean", "adsr", "trades", "pgd_at + awp"}
    check(record, "step_cost", {f"{method}/pgd_at" for method in methods} | {floor}, repeats=2)
    assert record["raw"].keys() == methods | {"pgd_at", "forward", "attack_pass", "training_pass"}
    assert record["ratios"][floor]["median"] > 1
    # Two attack steps are 4 forward passes, and the training pass 3.
    assert record["figures"]["floor of adsr/pgd_at, from passes counted (float32)"] == pytest.approx(1 + 1 / 7)
    for method in (methods | {"pgd_at"}) - {"clean"}:
        assert 0 <= record["figures"][f"zero_gradient_share {method}"] <= 1
    assert [target["limit"] for target in record["targets"]] == [1.1, 1.15]
    printed = capsys.readouterr().out
    assert "ratio adsr/pgd_at" in printed
    assert f"{record['ratios']['adsr/pgd_at']['median']:.4g}" in printed


def test_attack_precision(measured: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    record = measured(attack_precision.main, "--no-compile")
    others = {"bf16 autocast", "bf16 copy", "bf16 copy, sdpa attention"}
    check(
        record,
        "attack_precision",
        {f"{name}/float32" for name in others | {"float32, loss.backward()"}},
        repeats=2,
    )
    assert "torch.compile" in record["notes"][0]
    assert record["notes"][0] in capsys.readouterr().out
    clean = record["figures"]["no attack"]
    for name in others | {"float32"}:
        found = record["figures"][f"PGD-10 in {name}"]
        assert found["loss"] > clean["loss"]
        assert found["accuracy"] <= clean["accuracy"]
        assert 0.9 < found["sign agreement with float32"] <= 1
        assert 0 <= found["zero_gradient_share"] <= 1
    assert record["figures"]["PGD-10 in float32"]["loss below float32's"] == 0
    assert record["figures"]["PGD-10 in float32"]["sign agreement with float32"] == 1


def test_a_missing_compiler_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    model = attack_precision.make_model(attack_precision.SMOKE, seed=0)
    variants, notes = attack_precision.make_variants(model, compiles=True)
    assert attack_precision.COMPILED not in variants
    assert "no-such-compiler" in notes[0]


def test_import_time(measured: Callable[..., dict[str, Any]]) -> None:
    record = measured(import_time.main)
    check(
        record,
        "import_time",
        {"import adsr_hf/empty interpreter", "adsr --help/empty interpreter"},
        repeats=2,
    )
    difference = record["differences"]["import adsr_hf - empty interpreter"]["values"]
    raw = record["raw"]
    assert difference == pytest.approx(
        [a - b for a, b in zip(raw["import adsr_hf"], raw["empty interpreter"], strict=True)]
    )
    assert [target["limit"] for target in record["targets"]] == [0.5, 0.3]


@pytest.mark.slow
def test_evaluation_estimate(measured: Callable[..., dict[str, Any]]) -> None:
    if not (ROOT / evaluation_estimate.DATA).is_dir():
        pytest.skip("the benchmark's images are not at hand")
    record = measured(evaluation_estimate.main, "--data", str(ROOT / evaluation_estimate.DATA))
    check(record, "evaluation_estimate", {"taken / said"}, repeats=2)
    assert [target["limit"] for target in record["targets"]] == [1.5, 1.5]


def test_data_loading(measured: Callable[..., dict[str, Any]]) -> None:
    record = measured(data_loading.main)
    check(record, "data_loading", {"step_cost loading/step_cost step"}, repeats=2)
    assert [target["limit"] for target in record["targets"]] == [0.1]


class TestPeakMemory:
    COMMAND = (sys.executable, "-m", "benchmarks.peak_memory", "--smoke", "--seed", "3")

    @pytest.mark.slow
    def test_from_a_small_process(self, tmp_path: Path) -> None:
        path = tmp_path / "record.json"
        command = [*self.COMMAND, "--repeats", "1", "--output", str(path)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=120)
        record = json.loads(path.read_text(encoding="utf-8"))
        check(record, "peak_memory", {"adsr/pgd_at"}, repeats=1)
        for method in ("pgd_at", "adsr"):
            assert record["raw"][f"{method} grown by steps"][0] < record["raw"][f"{method} peak"][0] / 2

    @pytest.mark.slow
    def test_one_method(self) -> None:
        # Through a small process, since this one's own peak would be handed on.
        relay = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"
        command = [sys.executable, "-c", relay, *self.COMMAND, "--measure-here", "adsr"]
        done = subprocess.run(command, cwd=ROOT, check=True, timeout=120, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        # torch and transformers alone take hundreds of megabytes, and a tiny model hardly any.
        assert 100 < found["ready"] <= found["peak"] < 2000
        assert found["peak"] - found["ready"] < found["peak"] / 2
        # 4 bytes each for the (4 · 4 · 3 + 1) · 16 weights of the patches' projection, and others.
        assert found["weights"] > 4 * 49 * 16 / 1e6

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems do not pass a peak on")
    def test_a_large_process_is_refused(self, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
        monkeypatch.chdir(ROOT)
        assert peak_memory.peak_megabytes() > peak_memory.INHERITED_LIMIT_MEGABYTES
        with pytest.raises(subprocess.CalledProcessError):
            peak_memory.main(["--smoke", "--repeats", "1"])
        assert "from a shell" in capfd.readouterr().err
