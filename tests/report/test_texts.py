"""The two languages say the same things, and every sentence that a record holds can be told in Japanese."""

import re
from collections.abc import Iterator
from importlib.resources import files
from string import Formatter

import pytest
import torch
import yaml

from adsr_hf.attacks.registry import named_attacks
from adsr_hf.data.decoding import ConversionCounts
from adsr_hf.evaluation.corruptions import KINDS
from adsr_hf.evaluation.sanity import decisions
from adsr_hf.evaluation.verdicts import CHECKS, SanityCheck
from adsr_hf.records.sentences import sentence, worded
from adsr_hf.report.texts import Texts

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


FILES = {
    "en": [("adsr_hf.report.texts", "en.yaml"), ("adsr_hf.records", "sentences.yaml")],
    "ja": [("adsr_hf.report.texts", "ja.yaml")],
}


def entries(language: str) -> list[tuple[str, str]]:
    """Keys and texts as the files hold them, a repeated key included."""
    nodes = [yaml.compose((files(package) / name).read_text(encoding="utf-8")) for package, name in FILES[language]]
    return [(key.value, value.value) for node in nodes for key, value in node.value]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_each_once() -> None:
    english, japanese = ([key for key, _ in entries(language)] for language in ("en", "ja"))
    assert english == japanese
    assert len(set(english)) == len(english)


def test_both_languages_fill_in_the_same_values() -> None:
    japanese = dict(entries("ja"))
    for key, text in entries("en"):
        assert placeholders(text) == placeholders(japanese[key]), key


def test_every_japanese_text_is_japanese() -> None:
    signs = {
        "list.comma",
        "list.then",
        "colon",
        "sentence.space",
        "page.against",
        "figure.attacked",
        "sanity.accuracy_at",
    }
    for key, text in entries("ja"):
        assert key in signs or JAPANESE.search(text), key
        assert not re.search(r"[A-Za-z]+ [a-z]+ [a-z]+ [a-z]+", text), key


def test_every_check_and_every_noise_has_a_name() -> None:
    texts = Texts("ja")
    for key in [*(f"sanity.{name}" for name in CHECKS), *(f"noise.kind.{kind}" for kind in KINDS)]:
        assert key in texts


def test_unknown_language_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"language='fr' is not there; choose one of en, ja"):
        Texts("fr")


def every_verdict() -> Iterator[SanityCheck]:
    """Every decision as it passes and as it fails, from figures that make it so."""
    few, many = torch.tensor([True] * 5 + [False] * 95), torch.tensor([True] * 95 + [False] * 5)
    low, high = -torch.ones(100, dtype=torch.float64), torch.ones(100, dtype=torch.float64)
    zeros = torch.zeros(100, dtype=torch.float64)
    radii = [sentence("sanity.radius", threat=threat) for threat in ("Linf 4/255", "Linf 8/255", "Linf 16/255")]
    steps = [sentence("sanity.steps", count=count) for count in (10, 20, 100)]
    for settings in (radii, steps):
        yield decisions.never_rises(CHECKS[0], settings, [few, few, many], 100)
        yield decisions.never_rises(CHECKS[0], settings, [many, few, few], 100)
    yield decisions.reaches_chance(many, 100, 10)
    yield decisions.reaches_chance(few, 100, 10)
    yield decisions.beats_noise(high, low, 100)
    yield decisions.beats_noise(low, high, 100)
    yield decisions.beats_noise(high[:2], low[:2], 100)
    yield decisions.square_adds_little(0, 100)
    yield decisions.square_adds_little(50, 100)
    yield decisions.square_adds_little(0, 0)
    yield decisions.gradients_exist(few & False, 0.1)
    yield decisions.gradients_exist(many, 0.1)
    yield decisions.deterministic(torch.eye(3).double(), torch.eye(3).double())
    yield decisions.deterministic(torch.eye(3).double(), 1 - torch.eye(3).double())
    yield decisions.gradients_hold(many, None, None)
    yield decisions.gradients_hold(few & False, None, None)
    yield decisions.gradients_hold(few & False, zeros, zeros)
    yield decisions.gradients_hold(few & False, high, high)
    yield decisions.converged(2 * low, low, low)
    yield decisions.converged(2 * low, 2 * low, low)
    yield decisions.converged(low, low, low)
    yield decisions.transfer_is_weaker(many, few, 100)
    yield decisions.transfer_is_weaker(few, many, 100)


def test_every_sanity_verdict_has_its_sentence_in_japanese() -> None:
    texts = Texts("ja")
    told = []
    for verdict in every_verdict():
        english, translated = worded(verdict.words), texts.recorded(verdict.words)
        assert JAPANESE.search(translated)
        assert not re.search(r"\b(at|steps|of|the)\b", translated)
        # Figures may change places, but none may be lost or made up.
        assert set(re.findall(r"\d+\.\d%", english)) == set(re.findall(r"\d+\.\d%", translated))
        told.append(translated)
    assert len(set(told)) == len(told)


def test_steps_and_radii_are_told_in_both_languages() -> None:
    settings = [sentence("sanity.steps", count=10), sentence("sanity.radius", threat="Linf 8/255")]
    trail = [sentence("sanity.accuracy_at", accuracy=0.954, setting=setting) for setting in settings]
    told = sentence("sanity.stronger_attack.pass", trail=trail)
    assert Texts("en").recorded(told) == "Accuracy is 95.4% at 10 steps, 95.4% at Linf 8/255."
    assert Texts("ja").recorded(told) == "正解率は 10 ステップで 95.4%、Linf 8/255 で 95.4% です。"


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_notes_of_attacks_on_few_classes_have_their_japanese(num_classes: int) -> None:
    pytest.importorskip("pyautoattack")
    notes = [
        attack.settings["note"]
        for attack in named_attacks(["autoattack"], num_classes=num_classes)
        if "note" in attack.settings
    ]
    assert notes
    for note in notes:
        assert JAPANESE.search(Texts("ja").recorded(note))


def test_kinds_of_converted_images_are_told_in_japanese() -> None:
    (converted,) = ConversionCounts({"greyscale": 1470, "RGBA": 45, "16-bit": 14, "RGB": 9}).summary()
    assert Texts("en").recorded(converted) == "1470 greyscale, 45 RGBA, 14 16-bit converted to RGB"
    assert (
        Texts("ja").recorded(converted)
        == "RGB に変換：グレースケール 1470 枚、透過つき（RGBA） 45 枚、16 ビット 14 枚"
    )


def test_verdicts_of_the_tiles_say_which_model_is_the_better_one() -> None:
    texts = Texts("ja")
    assert texts("overview.against.worse", current="80.9%") == "現行 80.9% より悪化"
    assert texts("overview.against.better", current="80.9%") == "現行 80.9% より改善"
