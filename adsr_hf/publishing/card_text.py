"""The prose of a model card, in Markdown. Pure functions of the facts."""

from adsr_hf.publishing.card_facts import CalibrationFacts, CardFacts, Measurement


def card_text(facts: CardFacts) -> str:
    """The card's text, in Markdown."""
    calibration = [] if facts.calibration is None else [f"## Calibration\n\n{_calibration(facts.calibration)}"]
    sections = [
        f"# {facts.name}\n\n{_introduction(facts)}",
        f"## What was measured\n\n{_figures(facts)}",
        *calibration,
        f"## Threat model\n\n{_threat(facts)}",
        f"## Limits\n\n{_limits(facts)}",
        f"## How to use it\n\n{_usage(facts)}",
        f"## How it was trained\n\n{_training(facts)}",
    ]
    return "\n\n".join(sections) + "\n"


def _introduction(facts: CardFacts) -> str:
    start = (
        f", starting from [{facts.base_model}](https://huggingface.co/{facts.base_model})" if facts.base_model else ""
    )
    weights = {
        "student": "The weights are those that were trained (the student).",
        "teacher": "The weights are the moving average of those that were trained (the teacher).",
    }[facts.weights]
    unfinished = f" of {facts.total_steps:,}: training was still in progress" if facts.step < facts.total_steps else ""
    return (
        f"An image classifier, {facts.architecture} with {facts.parameters:,} parameters and {facts.classes} classes"
        f"{start}. {facts.method} {weights} They have seen {facts.step:,} optimizer steps{unfinished}.\n\n"
        f"Data: {_data(facts)}"
    )


def _data(facts: CardFacts) -> str:
    if facts.data is None:
        return "not described by whoever trained the model."
    name = f"[{facts.data.name}](https://huggingface.co/datasets/{facts.data.hub_name})" if facts.data.hub_name else ""
    config = f" (configuration {facts.data.config})" if facts.data.config else ""
    summary = f": {facts.data.summary}" if facts.data.summary else ""
    return f"{name or facts.data.name}{config}{summary}."


def _figures(facts: CardFacts) -> str:
    if not facts.measurements:
        return (
            "Nothing was measured on these weights, neither accuracy nor robustness nor calibration. Measure them on "
            "your own images before you rely on them."
        )
    tables = [_table(facts, measured) for measured in facts.measurements]
    notes = (
        "An image counts as right under attack only if it is right both clean and attacked. Intervals are Wilson's "
        "95% score intervals: what the sample size alone leaves open. Expected calibration error: mean gap between "
        "confidence and accuracy over 15 bins of equal width; 0 is perfect."
    )
    if facts.selected and any(measured.split != "test" for measured in facts.measurements):
        notes += (
            " This checkpoint was chosen by its figures on the validation images, so that they are somewhat too good; "
            "no images that played no part in training or choosing were measured."
        )
    return "\n\n".join([*tables, notes])


def _table(facts: CardFacts, measured: Measurement) -> str:
    attacked = f"under attack ({facts.attack})"
    titles = {
        "accuracy": "accuracy, clean images",
        "robust_accuracy": f"accuracy {attacked}",
        "ece": "expected calibration error, clean images",
        "robust_ece": f"expected calibration error {attacked}",
        "mean_confidence": "mean confidence, clean images",
        "robust_mean_confidence": f"mean confidence {attacked}",
    }
    lines = [
        f"On {measured.images:,} {measured.split} images:",
        "",
        "| figure | value | images | 95% interval |",
        "|---|---|---|---|",
    ]
    for name, title in titles.items():
        if name not in measured.figures:
            continue
        value, images, interval = measured.figures[name], f"{measured.images:,}", "–"
        if name.endswith("accuracy"):
            low, high = measured.interval(name)
            images = f"{round(value * measured.images):,} of {images}"
            interval = f"{low:.1%} to {high:.1%}"
        lines.append(f"| {title} | {value:.1%} | {images} | {interval} |")
    if "robust_accuracy" not in measured.figures:
        lines += ["", "Robustness was not measured."]
    return "\n".join(lines)


def _calibration(calibration: CalibrationFacts) -> str:
    fitted_on = {
        "clean": "clean",
        "adversarial": "attacked",
        "mixed": f"clean and attacked (weight of the attacked: {calibration.share:.0%})",
    }[calibration.fitted_on]
    attacked = (
        " Under attack both columns come from an attack of their own, since the temperature changes the gradients "
        "that the attack follows."
        if any("robust_ece" in figures for figures in calibration.after.values())
        else ""
    )
    rows = [
        f"| {split} images, {condition} | {before[name]:.1%} | {calibration.after[split][name]:.1%} |"
        for split, before in calibration.before.items()
        for name, condition in (("ece", "clean"), ("robust_ece", "under attack"))
        if name in before and name in calibration.after.get(split, {})
    ]
    return (
        f"One temperature, {calibration.temperature:.4g}, was fitted on {calibration.images:,} held-out validation "
        f"images, {fitted_on}, and is folded into the classification head, whose weight and bias are those of "
        "training divided by it. Every prediction, and the cost of inference, are what they were without it; only "
        f"confidence differs.{attacked}\n\n"
        + "\n".join(["| expected calibration error | before | after |", "|---|---|---|", *rows])
    )


def _threat(facts: CardFacts) -> str:
    norm, radius = facts.threat.split(maxsplit=1)
    change = {
        "Linf": f"change every value of every pixel by at most {radius}",
        "L2": f"change the image by at most {radius} in Euclidean length, all its values together",
    }[norm]
    trained = "was trained against" if facts.attacks else "was NOT trained against any attack; it is measured against"
    text = (
        f"**{facts.threat}**: the attacker knows the model completely and may {change}, where pixels lie in [0, 1] "
        f"before normalisation. The model {trained} this attacker."
    )
    if facts.attack is not None:
        text += (
            f" Attack behind the robust figures: PGD on the cross-entropy, {facts.attack.steps} steps of "
            f"{facts.attack.step_size:.4g}, started at random points (restarts: {facts.attack.restarts}), the worst "
            "iterate kept for each image."
        )
    return text


def _limits(facts: CardFacts) -> str:
    return (
        "- Robust figures are upper bounds: PGD may miss an adversarial image that a stronger attack finds. "
        "AutoAttack was not run.\n"
        f"- They hold for {facts.threat} alone. Larger changes, other norms, patches, rotations, blur, noise and "
        "weather are not covered.\n"
        "- All figures hold for images like those that were measured. On other cameras, places or classes accuracy, "
        "robustness and calibration can be far lower: measure again.\n"
        "- Confidence is calibrated only as far as the expected calibration error above says, and differently under "
        "attack."
    )


def _usage(facts: CardFacts) -> str:
    needs = "An ordinary transformers checkpoint; adsr_hf is not needed."
    registers = ""
    if facts.own_network:
        needs = (
            f"transformers does not have {facts.architecture}; adsr_hf does (`pip install adsr_hf`), and importing it "
            "is all that is needed. No code is loaded from the Hub: leave `trust_remote_code` off."
        )
        registers = "import adsr_hf.networks  # makes the architecture known\n"
    return (
        f"{needs}\n\n"
        f"```python\n{registers}"
        "from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline\n\n"
        f'classifier = pipeline("image-classification", model="{facts.repository}")\n'
        'classifier("image.png")\n\n'
        f'model = AutoModelForImageClassification.from_pretrained("{facts.repository}")\n'
        f'processor = AutoImageProcessor.from_pretrained("{facts.repository}")\n'
        "```"
    )


def _training(facts: CardFacts) -> str:
    settings = "\n".join(f"| {name} | {value} |" for name, value in facts.settings.items())
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return f"| setting | value |\n|---|---|\n{settings}\n\nVersions: {versions}."
