"""ADSRConfig: what it refuses and how it says so, what it fills in, what it never writes, how it is parsed."""

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import HfArgumentParser, TrainingArguments

from adsr_hf import ADSRConfig
from adsr_hf.attacks import AutoPGD, ThreatModel
from adsr_hf.settings.flags import parse_flags
from adsr_hf.settings.method import METHODS, OBJECTIVES
from tests.tiny import CHECKPOINTING, tiny_config, tiny_trainer

STEPS = {"eval_strategy": "steps", "save_strategy": "steps", "save_steps": 1, "eval_steps": 1}
NAN = float("nan")
# Every field of a recipe's training that takes a fraction: Trainer's and the method's.
NUMBERS = sorted(field.name for field in dataclasses.fields(ADSRConfig) if "float" in str(field.type) and field.init)
TOKEN = "hf_do-not-write-me-anywhere"


@pytest.fixture
def output_dir(tmp_path: Path) -> str:
    return str(tmp_path / "run")


class TestWrongOnPurpose:
    """Every message names the field, its value, and a way out."""

    @pytest.mark.parametrize(
        ("wrong", "parts"),
        [
            ({"epsilon": "-8/255"}, ["epsilon=-0.0313", "at least 0", "8/255"]),
            ({"epsilon": 0}, ["epsilon=0 ", "method='adsr'", "method='clean'"]),
            ({"epsilon": 0.0, "method": "pgd_at"}, ["epsilon=0 ", "method='pgd_at'", "8/255"]),
            ({"epsilon": 1.5}, ["epsilon=1.5", "[0, 1]", "1.5/255"]),
            ({"epsilon": 0.5}, ["epsilon=0.5 ", "same grey", "below 0.5"]),
            ({"epsilon": 1.0, "method": "clean"}, ["epsilon=1 ", "same grey"]),
            ({"epsilon": 8}, ["epsilon=8 ", "[0, 1]", "write 8/255"]),
            ({"epsilon": "8"}, ["epsilon=8 ", "write 8/255"]),
            ({"epsilon": float("nan")}, ["epsilon=nan", "finite"]),
            ({"epsilon": float("inf"), "norm": "L2"}, ["epsilon=inf", "finite"]),
            ({"epsilon": "nan"}, ["epsilon", "'nan'", "8/255"]),
            ({"epsilon_ramp_epochs": -1.0}, ["epsilon_ramp_epochs=-1.0", "at least 0"]),
            (
                {"epsilon_ramp_epochs": 5.0, "num_train_epochs": 3.0, "max_steps": -1},
                ["epsilon_ramp_epochs=5", "num_train_epochs=3", "shorten"],
            ),
            (
                {"epsilon_zero_share": 0.6, "epsilon_ramp_share": 0.5},
                ["epsilon_zero_share=0.6", "epsilon_ramp_share=0.5", "longer than the run"],
            ),
            ({"epsilon_zero_share": 1.0}, ["epsilon_zero_share=1", "never be reached"]),
            ({"epsilon_ramp_share": -0.1}, ["epsilon_ramp_share=-0.1", "[0, 1]"]),
            (
                {"epsilon_zero_share": 0.1, "epsilon_ramp_epochs": 2.0},
                ["epsilon_ramp_epochs=2", "epsilon_zero_share=0.1", "leave one out"],
            ),
            (
                {"epsilon_ramp_share": 0.5, "attack_schedule": {1: {"epsilon": "4/255"}}},
                ["attack_schedule", "epoch 1", "leave one out"],
            ),
            ({"teacher_memory": 0.0}, ["teacher_memory=0.0", "(0, 1]"]),
            ({"teacher_memory": 0.1, "teacher_decay": 0.9}, ["teacher_memory=0.1", "teacher_decay=0.9", "leave one"]),
            ({"labels_follow": "both"}, ["labels_follow='both'", "'clock'", "'teacher'"]),
            ({"epsilon": "8/0"}, ["epsilon", "'8/0'", "8/255"]),
            ({"epsilon": "eight"}, ["epsilon", "'eight'", "8/255"]),
            ({"norm": "L1"}, ["norm='L1'", "'Linf'", "'L2'"]),
            ({"norm": "linf"}, ["norm='linf'", "'Linf'"]),
            ({"method": "alp"}, ["method='alp'", "'clean'", "'pgd_at'", "'trades'", "'adsr'"]),
            ({"objective": "free"}, ["objective='free'", "'trades'", "'mart'", "'ikl'"]),
            ({"labels": "soft"}, ["labels='soft'", "'onehot'", "'label_smoothing'", "'adsr'"]),
            ({"method": "clean", "labels": "adsr"}, ["objective='clean'", "labels='adsr'", "pgd_at"]),
            ({"objective": "clean"}, ["objective='clean'", "labels='adsr'"]),
            ({"method": "pgd_at", "labels": "label_smoothing"}, ["labels='label_smoothing'", "factor above 0"]),
            (
                {"method": "pgd_at", "labels": "onehot", "label_smoothing_factor": 0.1},
                ["label_smoothing_factor=0.1", "'onehot'", "labels='label_smoothing'"],
            ),
            ({"trades_beta": -1.0}, ["trades_beta=-1.0", "at least 0", "6"]),
            ({"mart_beta": -1.0}, ["mart_beta=-1.0", "at least 0"]),
            ({"objective": "mart", "mixup": 0.2}, ["mixup=0.2", "objective='mart'", "one true class"]),
            ({"objective": "ikl", "cutmix": 1.0}, ["cutmix=1", "objective='ikl'", "undefined for mixed", "trades"]),
            ({"ikl_alpha": -1.0}, ["ikl_alpha=-1.0", "at least 0", "20"]),
            ({"ikl_beta": -1.0}, ["ikl_beta=-1.0", "at least 0", "4"]),
            ({"ikl_temperature": 0.0}, ["ikl_temperature=0.0", "positive", "4"]),
            ({"mixup": -0.1}, ["mixup=-0.1", "at least 0"]),
            ({"weight_perturbation": "sam"}, ["weight_perturbation='sam'", "'awp'", "'layerwise_sam'"]),
            ({"weight_perturbation_radius": 0.0}, ["weight_perturbation_radius=0.0", "(0, 1)", "'none'"]),
            (
                {
                    "weight_perturbation": "awp",
                    "weight_perturbation_warmup_epochs": 3.0,
                    "num_train_epochs": 3.0,
                    "max_steps": -1,
                },
                ["weight_perturbation_warmup_epochs=3", "num_train_epochs=3", "never"],
            ),
            ({"fixed_teacher": "a/b", "method": "pgd_at"}, ["fixed_teacher='a/b'", "labels='adsr'"]),
            ({"training_attack": "fgsm"}, ["training_attack='fgsm'", "'pgd'", "'apgd'"]),
            ({"training_attack": "apgd", "attack_step_size": "2/255"}, ["attack_step_size=0.0078", "'apgd'"]),
            ({"attack_restarts": 0}, ["attack_restarts=0", "at least 1"]),
            ({"attack_restarts": 2, "attack_random_start": False}, ["attack_restarts=2", "attack_random_start"]),
            ({"collapse_guard": "two_steps"}, ["collapse_guard='two_steps'", "attack_steps=1"]),
            ({"collapse_guard": "warn", "method": "clean"}, ["collapse_guard='warn'", "'off'"]),
            ({"attack_schedule": {}}, ["attack_schedule={}", "{0: {epsilon: 4/255}"]),
            ({"attack_schedule": "{0"}, ["attack_schedule", "not valid JSON"]),
            ({"attack_schedule": {"first": {"epsilon": 0}}}, ["attack_schedule", "'first'", "no number"]),
            ({"attack_schedule": {0: {"steps": 1}}}, ["attack_schedule", "{'steps': 1}", "epsilon and attack_steps"]),
            ({"attack_schedule": {0: {"epsilon": "9/255"}}}, ["attack_schedule's epsilon", "largest radius"]),
            ({"attack_schedule": {0: {"attack_steps": 0}}}, ["attack_steps=0", "at least 1"]),
            (
                {"attack_schedule": {3: {"attack_steps": 1}}, "num_train_epochs": 3.0, "max_steps": -1},
                ["attack_schedule", "epoch 3", "num_train_epochs=3"],
            ),
            ({"attack_steps": 0}, ["attack_steps=0", "at least 1", "method='clean'"]),
            ({"attack_steps": 2.5}, ["attack_steps=2.5", "whole number"]),
            ({"attack_step_size": 0}, ["attack_step_size=0", "positive", "2.5 * epsilon"]),
            ({"attack_step_size": "-2/255"}, ["attack_step_size=-0.0078", "positive"]),
            ({"attack_step_size": float("inf")}, ["attack_step_size=inf", "finite"]),
            ({"attack_mode": "test"}, ["attack_mode='test'", "'eval'", "'train'"]),
            ({"attack_precision": "fp16"}, ["attack_precision='fp16'", "'float32'", "'bf16'"]),
            (
                {"attack_precision": "bf16", "attack_mode": "train"},
                ["attack_precision='bf16'", "attack_mode='train'", "attack_mode='eval'"],
            ),
            ({"eval_attack_steps": -1}, ["eval_attack_steps=-1", "at least 0", "0 leaves robust figures out"]),
            ({"eval_attack_restarts": 0}, ["eval_attack_restarts=0", "at least 1"]),
            ({"temperature_start": 0.0}, ["temperature_start=0.0", "positive"]),
            ({"temperature_end": -1.0}, ["temperature_end=-1.0", "positive"]),
            ({"temperature_end": float("nan")}, ["temperature_end=nan", "positive"]),
            ({"temperature_start": "2"}, ["temperature_start='2'", "positive number"]),
            ({"interpolation_start": -0.1}, ["interpolation_start=-0.1", "[0, 1]"]),
            ({"interpolation_end": 1.01}, ["interpolation_end=1.01", "[0, 1]"]),
            ({"interpolation_end": float("nan")}, ["interpolation_end=nan", "[0, 1]"]),
            ({"teacher_decay": 1.0}, ["teacher_decay=1.0", "[0, 1)", "0.995"]),
            ({"teacher_decay": -0.5}, ["teacher_decay=-0.5", "[0, 1)"]),
            ({"teacher_decay": float("nan")}, ["teacher_decay=nan", "[0, 1)"]),
            ({"publish": "ema"}, ["publish='ema'", "'student'", "'teacher'"]),
            ({"evaluate_weights": "best"}, ["evaluate_weights='best'", "'both'"]),
            (
                {"evaluate_weights": "teacher", "method": "pgd_at"},
                ["evaluate_weights='teacher'", "method='pgd_at'", "publish='teacher'"],
            ),
            ({"per_device_train_batch_size": 0}, ["per_device_train_batch_size=0", "at least 1"]),
            ({"per_device_eval_batch_size": 0}, ["per_device_eval_batch_size=0", "at least 1"]),
            ({"gradient_accumulation_steps": 0}, ["gradient_accumulation_steps=0", "at least 1"]),
            ({"max_steps": -2}, ["max_steps=-2", "num_train_epochs"]),
            ({"num_train_epochs": 0, "max_steps": -1}, ["num_train_epochs=0", "trains nothing"]),
            ({"save_strategy": "steps", "save_steps": 0}, ["save_steps=0", "above 0", "save_strategy='no'"]),
            ({"save_strategy": "steps", "save_steps": -0.5}, ["save_steps=-0.5", "would never come"]),
            ({"eval_strategy": "steps", "eval_steps": -4}, ["eval_steps=-4", "would never come"]),
            ({"logging_strategy": "steps", "logging_steps": -3}, ["logging_steps=-3", "would never come"]),
            ({"num_train_epochs": -3.0, "max_steps": -1}, ["num_train_epochs=-3", "above 0"]),
            ({"learning_rate": -1e-3}, ["learning_rate=-0.001", "at least 0"]),
            ({"weight_decay": -0.1}, ["weight_decay=-0.1", "at least 0"]),
            ({"adam_beta2": 1.5}, ["adam_beta2=1.5", "[0, 1]"]),
            ({"max_grad_norm": -1.0}, ["max_grad_norm=-1.0", "0 leaves gradients"]),
            ({"seed": -1}, ["seed=-1", "[0, 4.29497e+09]"]),
            ({"dataloader_num_workers": -1}, ["dataloader_num_workers=-1", "at least 0"]),
            ({"lr_scheduler_kwargs": {"power": NAN}}, ["lr_scheduler_kwargs=nan", "finite"]),
            ({"fp16": True}, ["fp16=True", "bf16=True"]),
            ({"label_smoothing_factor": 0.1}, ["label_smoothing_factor=0.1", "method='adsr'", "'label_smoothing'"]),
            ({"label_smoothing_factor": 1.0, "method": "pgd_at"}, ["label_smoothing_factor=1.0", "[0, 1)"]),
            ({"average_tokens_across_devices": False}, ["average_tokens_across_devices=False", "set it to True"]),
            ({"optim": "lomo", "weight_perturbation": "awp"}, ["optim='lomo'", "'awp'", "weight_perturbation='none'"]),
            ({"optim": "adalomo", "weight_perturbation": "layerwise_sam"}, ["optim='adalomo'", "'layerwise_sam'"]),
            (
                {"optim": "galore_adamw_8bit_layerwise", "optim_target_modules": ["fc"], "weight_perturbation": "awp"},
                ["optim='galore_adamw_8bit_layerwise'", "adamw_torch"],
            ),
            (
                {"optim": "apollo_adamw_layerwise", "optim_target_modules": ["fc"], "weight_perturbation": "awp"},
                ["optim='apollo_adamw_layerwise'"],
            ),
            (
                {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}},
                ["use_reentrant=True", "False"],
            ),
            (
                {
                    "save_only_model": True,
                    "load_best_model_at_end": True,
                    "eval_strategy": "steps",
                    "save_strategy": "steps",
                },
                ["save_only_model=True", "load_best_model_at_end=True"],
            ),
        ],
    )
    def test_is_refused(self, output_dir: str, wrong: dict[str, Any], parts: list[str]) -> None:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011 - each message is checked part by part
            tiny_config(output_dir, **wrong)
        for part in parts:
            assert part in str(refusal.value)

    @pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
    @pytest.mark.parametrize("name", NUMBERS)
    def test_no_number_may_be_infinite_or_none_at_all(self, output_dir: str, name: str, value: float) -> None:
        with pytest.raises(ValueError, match=name):
            tiny_config(output_dir, **{name: value})

    @pytest.mark.parametrize(
        ("radius", "words"),
        [
            ({"epsilon": 0.31}, "epsilon=0.31 is larger than any Linf radius in use"),
            ({"epsilon": 8, "norm": "L2"}, "write 8/255"),
            ({"epsilon": "8/255", "norm": "L2"}, "epsilon=0.0313725 is the length of the whole change"),
            ({"epsilon": 0.3}, ""),
            ({"epsilon": 0.5, "norm": "L2"}, ""),
            ({"epsilon": 0, "norm": "L2", "method": "clean"}, ""),
        ],
    )
    def test_what_is_hardly_meant_is_warned_of(
        self, output_dir: str, radius: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level("WARNING", logger="adsr_hf.config"):
            tiny_config(output_dir, **radius)
        assert words in caplog.text
        assert bool(words) == bool(caplog.text)

    def test_nothing_is_written(self, output_dir: str) -> None:
        with pytest.raises(ValueError, match="epsilon=8"):
            tiny_config(output_dir, epsilon=8)
        assert not Path(output_dir).exists()

    def test_trainer_wants_this_config(self, output_dir: str) -> None:
        arguments = TrainingArguments(output_dir, use_cpu=True, report_to="none")
        trainer = tiny_trainer(output_dir)
        with pytest.raises(TypeError, match=r"args=TrainingArguments must be an ADSRConfig"):
            type(trainer)(model=trainer.model, args=arguments)

    @pytest.mark.parametrize(
        "allowed",
        [
            {"epsilon": 0, "method": "clean"},
            {"epsilon": 0.49},
            {"epsilon": 8, "norm": "L2"},
            {"max_grad_norm": 0.0},
            {"learning_rate": 0.0},
            {"num_train_epochs": 0.5, "max_steps": -1},
            {"interpolation_start": 0.0, "interpolation_end": 1.0},
            {"teacher_decay": 0.0},
            {"eval_attack_steps": 0},
            {"attack_step_size": "2/255"},
            {"label_smoothing_factor": 0.1, "method": "pgd_at"},
            {"evaluate_weights": "teacher", "method": "clean", "publish": "teacher"},
            {"trades_beta": 0.0, "method": "trades"},
            {"optim": "lomo"},
            {"optim": "galore_adamw", "optim_target_modules": ["fc"], "weight_perturbation": "awp"},
            {"attack_schedule": '{"0": {"epsilon": 0}}'},
        ],
    )
    def test_the_edges_are_allowed(self, output_dir: str, allowed: dict[str, Any]) -> None:
        config = tiny_config(output_dir, **allowed)
        assert config.threat.epsilon == config.epsilon


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        ({}, ("adsr", "pgd_at", "adsr")),
        ({"method": "clean"}, ("clean", "clean", "onehot")),
        ({"method": "trades"}, ("trades", "trades", "onehot")),
        ({"method": "mart"}, ("mart", "mart", "onehot")),
        ({"method": "ikl"}, ("ikl", "ikl", "onehot")),
        ({"objective": "ikl"}, ("adsr", "ikl", "adsr")),
        ({"objective": "trades"}, ("adsr", "trades", "adsr")),
        ({"method": "trades", "labels": "adsr"}, ("adsr", "trades", "adsr")),
        ({"labels": "onehot"}, ("pgd_at", "pgd_at", "onehot")),
        ({"method": "pgd_at", "label_smoothing_factor": 0.1}, ("pgd_at", "pgd_at", "label_smoothing")),
        ({"method": "clean", "label_smoothing_factor": 0.1}, ("clean", "clean", "label_smoothing")),
        ({"objective": "trades", "labels": "label_smoothing", "label_smoothing_factor": 0.1}, ("trades",) * 2),
    ],
)
def test_method_objective_and_labels_agree_in_the_end(
    output_dir: str, given: dict[str, Any], settled: tuple[str, ...]
) -> None:
    config = tiny_config(output_dir, **given)
    assert (config.method, config.settled_objective, config.settled_labels)[: len(settled)] == settled
    again = tiny_config(
        output_dir,
        **{name: config.to_dict()[name] for name in ("method", "objective", "labels")},
        label_smoothing_factor=config.label_smoothing_factor,
    )
    assert pair(again) == pair(config)
    assert again.to_dict() == config.to_dict()


def pair(config: ADSRConfig) -> tuple[str, str]:
    return config.settled_objective, config.settled_labels


GIVEN = st.fixed_dictionaries(
    {
        "method": st.sampled_from(tuple(METHODS)),
        "objective": st.sampled_from((None, *OBJECTIVES)),
        "labels": st.sampled_from((None, "onehot", "adsr")),
    }
)


class TestAnotherMethod:
    """However it is changed, the method that is asked for is trained, except for an objective of the user's own."""

    @settings(max_examples=60, deadline=None)
    @given(given=GIVEN, method=st.sampled_from(tuple(METHODS)))
    def test_it_brings_its_own_objective_and_labels(self, given: dict[str, Any], method: str) -> None:
        try:
            config = tiny_config("unused", **given)
        except ValueError:
            assert (given["objective"] or METHODS[given["method"]][0]) == "clean"
            return
        objective, labels = METHODS[method]
        if config.objective is not None:
            # ADSR in its TRADES or MART form, the one pair that no method stands for.
            assert (config.method, config.labels) == ("adsr", None)
            objective = config.objective
        replaced = dataclasses.replace(config, method=method)
        written = json.loads(json.dumps({name: config.to_dict()[name] for name in ("method", "objective", "labels")}))
        read = tiny_config("unused", **(written | {"method": method}))
        config.method = method
        assert [pair(one) for one in (replaced, read, config)] == [(objective, labels)] * 3

    def test_a_search_for_hyperparameters_trains_it(self, tmp_path: Path) -> None:
        """Trainer sets each trial's values on the arguments that it has."""
        trainer = tiny_trainer(tmp_path, max_steps=1)
        trainer.args.method = "clean"
        trainer.train()
        assert trainer.teacher is None
        assert not {"mean_lambda", "epsilon"} & trainer.state.log_history[0].keys()
        trainer.args.method = "pgd"
        with pytest.raises(ValueError, match=r"method='pgd'.*'pgd_at'"):
            trainer.train()

    def test_smoothing_may_come_and_go(self, output_dir: str) -> None:
        config = tiny_config(output_dir, method="pgd_at")
        smoothed = dataclasses.replace(config, label_smoothing_factor=0.1)
        assert pair(smoothed) == ("pgd_at", "label_smoothing")
        assert pair(dataclasses.replace(smoothed, label_smoothing_factor=0.0)) == ("pgd_at", "onehot")


class TestAttacks:
    def test_a_single_step_is_wongs(self, output_dir: str) -> None:
        attack = tiny_config(output_dir, epsilon="8/255", attack_steps=1).attack_at(0)
        assert attack.resolved_step_size == 1.25 * 8 / 255

    @pytest.mark.parametrize("method", ["trades", "mart", "ikl"])
    def test_comparing_objectives_start_near_the_image(self, output_dir: str, method: str) -> None:
        assert tiny_config(output_dir, method=method).attack_at(0).start_deviation == 0.001
        assert tiny_config(output_dir, method="pgd_at").attack_at(0).start_deviation is None

    def test_apgd_and_restarts(self, output_dir: str) -> None:
        attack = tiny_config(output_dir, training_attack="apgd", attack_steps=2, attack_restarts=3).attack_at(0)
        assert attack == AutoPGD(ThreatModel("Linf", 8 / 255), num_steps=2, restarts=3)

    def test_default_step_is_madrys(self, output_dir: str) -> None:
        attack = tiny_config(output_dir, epsilon="8/255", attack_steps=10).attack_at(0)
        assert attack.resolved_step_size == pytest.approx(2.5 * 8 / 255 / 10)
        assert (attack.num_steps, attack.keep, attack.random_start, attack.restarts) == (10, "last", True, 1)
        assert str(attack.threat) == "Linf 8/255"

    def test_two_steps_after_a_collapse_weaken_no_later_entry_of_a_schedule(self, output_dir: str) -> None:
        schedule = {0: {"attack_steps": 1}, 1: {"attack_steps": 7}}
        config = tiny_config(output_dir, attack_steps=1, attack_schedule=schedule)
        assert [config.attack_at(epoch).num_steps for epoch in (0, 1)] == [1, 7]
        assert [config.attack_at(epoch, least_steps=2).num_steps for epoch in (0, 1)] == [2, 7]

    def test_given_step(self, output_dir: str) -> None:
        assert tiny_config(output_dir, attack_step_size="2/255").attack_at(0).resolved_step_size == 2 / 255

    @pytest.mark.parametrize("step_size", [None, "2/255"])
    def test_a_smaller_attack_keeps_its_proportions(self, output_dir: str, step_size: str | None) -> None:
        config = tiny_config(output_dir, attack_step_size=step_size)
        full, half = config.attack_at(0), config.attack_at(0, ramp=0.5)
        assert half.threat.epsilon == pytest.approx(full.threat.epsilon / 2)
        assert half.resolved_step_size == pytest.approx(full.resolved_step_size / 2)

    def test_evaluation_has_its_own_steps_and_restarts_and_keeps_the_worst(self, output_dir: str) -> None:
        config = tiny_config(output_dir, eval_attack_steps=7, eval_attack_restarts=3, attack_steps=2, norm="L2")
        attack = config.evaluation_attack
        assert (attack.num_steps, attack.restarts, attack.keep, attack.threat.norm) == (7, 3, "worst", "L2")


class TestWhatIsFilledIn:
    @pytest.mark.parametrize(
        ("settings", "figure", "greater"),
        [
            ({"load_best_model_at_end": True, **STEPS}, "robust_accuracy", True),
            ({"load_best_model_at_end": True, "publish": "teacher", **STEPS}, "teacher_robust_accuracy", True),
            (
                {"load_best_model_at_end": True, "evaluate_weights": "teacher", **STEPS},
                "teacher_robust_accuracy",
                True,
            ),
            (
                {"load_best_model_at_end": True, "publish": "teacher", "evaluate_weights": "student", **STEPS},
                "robust_accuracy",
                True,
            ),
            ({"load_best_model_at_end": True, "eval_attack_steps": 0, **STEPS}, "loss", False),
            (
                {"load_best_model_at_end": True, "eval_attack_steps": 0, "publish": "teacher", **STEPS},
                "teacher_loss",
                False,
            ),
            ({"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 1}, "robust_accuracy", True),
            ({"load_best_model_at_end": True, "method": "clean", **STEPS}, "accuracy", True),
            (
                {"load_best_model_at_end": True, "method": "clean", "publish": "teacher", **STEPS},
                "teacher_accuracy",
                True,
            ),
            ({"load_best_model_at_end": True, "method": "clean", "eval_attack_steps": 0, **STEPS}, "accuracy", True),
            (
                {"load_best_model_at_end": True, "method": "clean", "metric_for_best_model": "loss", **STEPS},
                "loss",
                False,
            ),
            ({"method": "clean", "metric_for_best_model": "robust_accuracy"}, "robust_accuracy", True),
            (
                {"lr_scheduler_type": "reduce_lr_on_plateau", "evaluate_weights": "teacher", **STEPS},
                "teacher_loss",
                False,
            ),
            ({"load_best_model_at_end": True, "metric_for_best_model": "ece", **STEPS}, "ece", False),
            ({"metric_for_best_model": "eval_teacher_robust_ece"}, "eval_teacher_robust_ece", False),
            ({"metric_for_best_model": "accuracy"}, "accuracy", True),
            ({"metric_for_best_model": "robust_loss"}, "robust_loss", False),
            ({"metric_for_best_model": "ece", "greater_is_better": True}, "ece", True),
            ({}, None, None),
        ],
    )
    def test_what_chooses_the_best_checkpoint(
        self, output_dir: str, settings: dict[str, Any], figure: str | None, greater: bool | None
    ) -> None:
        config = tiny_config(output_dir, **settings)
        assert (config.metric_for_best_model, config.greater_is_better) == (figure, greater)

    def test_a_copy_with_another_method_is_chosen_by_that_methods_figure(self, output_dir: str) -> None:
        def chosen(config: ADSRConfig) -> tuple[str | None, bool | None]:
            return config.metric_for_best_model, config.greater_is_better

        attacked = tiny_config(output_dir, load_best_model_at_end=True, publish="teacher", **STEPS)
        assert chosen(dataclasses.replace(attacked, method="clean")) == ("teacher_accuracy", True)
        assert chosen(dataclasses.replace(attacked, method="clean", publish="student")) == ("accuracy", True)
        unattacked = dataclasses.replace(attacked, eval_attack_steps=0)
        assert chosen(unattacked) == ("teacher_loss", False)
        assert chosen(dataclasses.replace(unattacked, method="clean")) == ("teacher_accuracy", True)
        # As a search for hyperparameters changes it.
        attacked.method = "clean"
        attacked.check_method()
        attacked.settle_figure()
        assert chosen(attacked) == ("teacher_accuracy", True)
        written = tiny_config(output_dir, load_best_model_at_end=True, metric_for_best_model="robust_ece", **STEPS)
        assert chosen(dataclasses.replace(written, method="clean")) == ("robust_ece", False)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"method": "clean", "metric_for_best_model": "teacher_accuracy"}, "keeps no teacher; use 'accuracy'"),
            ({"method": "pgd_at", "metric_for_best_model": "eval_teacher_loss"}, "keeps no teacher; use 'loss'"),
            (
                {"metric_for_best_model": "teacher_robust_ece", "evaluate_weights": "student"},
                "not measured with evaluate_weights='student'",
            ),
            ({"metric_for_best_model": "ece", "evaluate_weights": "teacher"}, "use 'teacher_ece' here"),
            ({"metric_for_best_model": "robust_loss", "eval_attack_steps": 0}, "eval_attack_steps=0 switches it off"),
        ],
    )
    def test_a_figure_that_is_not_measured_chooses_nothing(
        self, output_dir: str, settings: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValueError, match=f"metric_for_best_model=.*{message}"):
            tiny_config(output_dir, **settings)

    def test_transforms_keep_their_image_column(self, output_dir: str) -> None:
        assert tiny_config(output_dir).remove_unused_columns is None


class TestHubToken:
    @pytest.fixture
    def config(self, output_dir: str) -> ADSRConfig:
        return tiny_config(output_dir, hub_token=TOKEN)

    def test_stays_usable(self, config: ADSRConfig) -> None:
        assert config.hub_token == TOKEN

    def test_is_in_no_written_form(self, config: ADSRConfig, tmp_path: Path) -> None:
        torch.save(config, tmp_path / "training_args.bin")
        assert TOKEN.encode() not in (tmp_path / "training_args.bin").read_bytes()
        assert TOKEN.encode() not in pickle.dumps(config)
        assert TOKEN not in config.to_json_string()
        assert TOKEN not in json.dumps(config.to_dict())
        assert TOKEN not in json.dumps(config.to_sanitized_dict(), default=str)
        assert TOKEN not in str(config)
        assert TOKEN not in repr(config)

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
    def test_is_in_no_copy(self, config: ADSRConfig, duplicate: Any) -> None:
        copied = duplicate(config)
        assert copied.hub_token is None
        assert copied.epsilon == config.epsilon
        assert config.hub_token == TOKEN

    def test_is_in_no_file_of_a_run(self, output_dir: str) -> None:
        trainer = tiny_trainer(output_dir, hub_token=TOKEN, save_strategy="steps", save_steps=1, max_steps=1)
        trainer.train()
        trainer.save_model()
        files = [path for path in Path(output_dir).rglob("*") if path.is_file()]
        assert len(files) > 5
        assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


class TestWrittenAndRead:
    def test_json_has_radii_as_numbers(self, output_dir: str) -> None:
        written = json.loads(tiny_config(output_dir, epsilon="8/255", attack_step_size="2/255").to_json_string())
        assert (written["epsilon"], written["attack_step_size"]) == (8 / 255, 2 / 255)
        assert written["method"] == "adsr"

    def test_pickle_gives_an_equal_config(self, output_dir: str) -> None:
        config = tiny_config(output_dir, epsilon="8/255")
        assert pickle.loads(pickle.dumps(config)).to_dict() == config.to_dict()

    def test_command_line(self, output_dir: str) -> None:
        flags = ["--output_dir", output_dir, "--epsilon", "8/255", "--attack_step_size", "2/255", "--method", "pgd_at"]
        flags += ["--teacher_decay", "0.98", "--attack_random_start", "false", "--use_cpu", "--report_to", "none"]
        (config,) = HfArgumentParser(ADSRConfig).parse_args_into_dataclasses(flags)
        assert (config.epsilon, config.attack_step_size) == (8 / 255, 2 / 255)
        assert (config.method, config.teacher_decay, config.attack_random_start) == ("pgd_at", 0.98, False)

    def test_command_line_takes_a_schedule(self, output_dir: str) -> None:
        flags = ["--output_dir", output_dir, "--use_cpu", "--report_to", "none"]
        flags += ["--attack_schedule", '{"0": {"epsilon": "4/255"}, "2": {"attack_steps": 3}}']
        (config,) = parse_flags((ADSRConfig,), {}, flags)
        assert [config.attack_at(epoch).threat.epsilon for epoch in (0, 1.9, 2)] == [4 / 255, 4 / 255, 8 / 255]
        assert [config.attack_at(epoch).num_steps for epoch in (0, 2)] == [10, 3]

    @pytest.mark.parametrize("flags", [["--epsilon", "eight"], ["--method", "alp"], ["--attack_steps", "2.5"]])
    def test_command_line_refuses_what_it_cannot_read(
        self, output_dir: str, flags: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stop:
            HfArgumentParser(ADSRConfig).parse_args_into_dataclasses(["--output_dir", output_dir, *flags])
        assert stop.value.code != 0
        assert flags[0] in capsys.readouterr().err

    def test_every_field_has_help(self) -> None:
        text = HfArgumentParser(ADSRConfig).format_help()
        for name in ("--epsilon", "--temperature_start", "--interpolation_end", "--teacher_decay", "--publish"):
            assert name in text
