"""The two languages say the same things, and every sentence that a record holds can be told in Japanese."""

import re
from collections.abc import Iterator
from importlib.resources import files
from string import Formatter

import pytest
import torch
import yaml

from adsr_hf.attacks.registry import named_attacks
from adsr_hf.evaluation.corruptions import KINDS
from adsr_hf.evaluation.sanity import decisions
from adsr_hf.evaluation.verdicts import CHECKS, SanityCheck
from adsr_hf.report.texts import Texts

JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


def entries(language: str) -> list[tuple[str, str]]:
    """Keys and texts as the file holds them, a repeated key included."""
    node = yaml.compose((files("adsr_hf.report.texts") / f"{language}.yaml").read_text(encoding="utf-8"))
    return [(key.value, value.value) for key, value in node.value]


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
    for settings in (["Linf 4/255", "Linf 8/255", "Linf 16/255"], ["10 steps", "20 steps", "100 steps"]):
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
        translated = texts.recorded(verdict.words)
        assert translated is not None, verdict.words
        assert JAPANESE.search(translated)
        assert not re.search(r"\b(at|steps|of|the)\b", translated)
        # Figures may change places, but none may be lost or made up.
        assert set(re.findall(r"\d+\.\d%", verdict.words)) == set(re.findall(r"\d+\.\d%", translated))
        told.append(translated)
    assert len(set(told)) == len(told)


SOURCE_SENTENCES = [
    "No undefended model of the same family was given to make images on.",
    "Under L2 Square needs images of at least 6 pixels a side.",
    "Square needs pyautoattack; install it with: pip install 'adsr_hf[autoattack]'",
    "The model gives the same answer to every image, so that no attack can change it.",
    "No image is classified rightly without attack, so there is nothing to break.",
    "an image that is wrong without attack, or has fallen to an earlier attack, is not attacked (again)",
    "no example is kept: in whole grey levels none of the images that fell to Linf 8/255 still fools the model",
    "not measured for both models",
    "no run.json that says it beside both records",
    "runs/a and runs/b cannot be compared, since their threats differ: ['Linf 4/255'] against ['Linf 8/255']; "
    "evaluate both with the same data, --threat and attack settings",
    "12 greyscale, 3 RGBA converted to RGB",
    "1 broken image skipped",
    "no temperature between 0.01 and 100 fits the 30 held-out images, since (almost) none of them is misclassified; "
    "the weights stay uncalibrated. Hold out more or harder images, or calibrate on attacked ones",
    "no temperature between 0.01 and 100 fits the 30 held-out images, since they are right by chance; the weights "
    "stay uncalibrated. Train for longer, or calibrate on clean images alone",
]


@pytest.mark.parametrize("words", SOURCE_SENTENCES)
def test_sentences_of_records_have_their_japanese(words: str) -> None:
    translated = Texts("ja").recorded(words)
    assert translated is not None
    assert JAPANESE.search(translated)
    assert Texts("en").recorded(words) == words


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
        assert JAPANESE.search(Texts("ja").recorded(note) or "")


def test_kinds_of_converted_images_are_told_in_japanese() -> None:
    translated = Texts("ja").recorded("1470 greyscale, 45 RGBA, 14 16-bit converted to RGB")
    assert translated == "RGB に変換：グレースケール 1470 枚、透過つき（RGBA） 45 枚、16 ビット 14 枚"


def test_verdicts_of_the_tiles_say_which_model_is_the_better_one() -> None:
    texts = Texts("ja")
    assert texts("overview.against.worse", current="80.9%") == "現行 80.9% より悪化"
    assert texts("overview.against.better", current="80.9%") == "現行 80.9% より改善"


def test_a_sentence_that_nobody_translated_is_not_made_up() -> None:
    assert Texts("ja").recorded("Something that no version of this package ever wrote.") is None
