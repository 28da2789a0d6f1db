"""Loads models as a stranger would, without adsr_hf: ``python loading_worker.py RESULT IMAGE INPUTS SOURCE…``.

For each source, a Hub name or a folder, it writes the logits of the model and of the pipeline to RESULT.
"""

import sys
from typing import Any


class Absent:
    """An import hook under which adsr_hf is not installed."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "adsr_hf":
            raise ModuleNotFoundError(f"No module named {name!r}")


sys.meta_path.insert(0, Absent())
try:
    import adsr_hf  # noqa: F401
except ModuleNotFoundError:
    pass
else:
    sys.exit("adsr_hf can be imported, so that nothing would be shown")


def aligned(model: Any) -> Any:
    """The model with its weights in memory of its own: mapped from a file they lie unaligned, which changes sums."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def main(result: str, image: str, inputs: str, sources: list[str]) -> None:
    # Only now: the hook above must come first.
    import torch
    from PIL import Image
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForImageClassification, pipeline

    torch.set_num_threads(1)
    found = {}
    for source in sources:
        model = aligned(AutoModelForImageClassification.from_pretrained(source))
        with torch.no_grad():
            found[f"{source} model"] = model(**load_file(inputs)).logits
        classifier = pipeline("image-classification", model=source)
        aligned(classifier.model)
        with torch.no_grad():
            found[f"{source} pipeline"] = classifier.model(**classifier.preprocess(Image.open(image))).logits
        answers = classifier(image, top_k=model.config.num_labels)
        order = [model.config.label2id[answer["label"]] for answer in answers]
        found[f"{source} scores"] = torch.zeros(len(order)).index_put(
            (torch.tensor(order),), torch.tensor([answer["score"] for answer in answers])
        )
    save_file(found, result)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
