"""Training losses on soft targets, by name. Pure functions of logits and targets: scalars, means over the batch.

Every one takes targets of any source, one-hot, smoothed, rectified or mixed: (B, K) probabilities without a gradient.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from adsr_hf.method.ikl import improved_divergence

_COMPARING = ("trades", "mart", "ikl")


@dataclass(frozen=True)
class Objective:
    """One training loss.

    Attributes:
        name: ``"clean"``, ``"pgd_at"``, ``"trades"``, ``"mart"`` or ``"ikl"``.
        beta: weight of the divergence in TRADES and MART, of its cross-entropy in IKL.
        alpha: weight of the squared error in IKL.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
        >>> targets = torch.tensor([[1.0, 0.0]])
        >>> round(Objective("pgd_at").loss(logits, targets, labels).item(), 4)
        0.1269
        >>> Objective("trades", beta=6.0).compares
        True
    """

    name: str
    beta: float = 0.0
    alpha: float = 0.0

    @property
    def compares(self) -> bool:
        """Whether the loss needs the outputs on clean images beside those on attacked ones."""
        return self.name in _COMPARING

    def loss(self, logits: Tensor, targets: Tensor, labels: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            logits: (B, K), float, of what is trained on; where the objective compares, (2B, K): clean, then attacked.
            targets: (B, K), float probabilities.
            labels: (B,), int64 class indices: MART's true classes.
            class_weights: (B, K), float probabilities: IKL's weights of each image's true class.

        Raises:
            ValueError: where IKL gets no weights.
        """
        if not self.compares:
            return soft_cross_entropy(logits, targets)
        clean, adversarial = logits.chunk(2)
        if self.name == "trades":
            return trades(clean, adversarial, targets, beta=self.beta)
        if self.name == "ikl":
            return ikl(clean, adversarial, targets, class_weights, alpha=self.alpha, beta=self.beta)
        return mart(clean, adversarial, targets, labels, beta=self.beta)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of −Σ_k q_k log softmax(logits)_k, a scalar; computed in float32 or wider.

    The outer loss of PGD adversarial training (Madry et al. 2018, equation 2.1) when the logits are those of
    adversarial images. The targets carry no gradient.

    Args:
        logits: (B, K), float.
        targets: (B, K), float probabilities.
    """
    logits = _wide(logits)
    return functional.cross_entropy(logits, targets.detach().to(logits.dtype))


def divergence(clean_logits: Tensor, adversarial_logits: Tensor) -> Tensor:
    """KL(softmax(clean) ‖ softmax(adversarial)) of each image, (B,), differentiable in both.

    Args:
        clean_logits, adversarial_logits: (B, K), float, of the same images.
    """
    clean, adversarial = _log_probabilities(clean_logits), _log_probabilities(adversarial_logits)
    return (clean.exp() * (clean - adversarial)).sum(1)


def trades(clean_logits: Tensor, adversarial_logits: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """Cross-entropy on clean images plus β times the divergence of the attacked ones.

    Zhang et al., *Theoretically Principled Trade-off between Robustness and Accuracy* (ICML 2019, arXiv 1901.08573),
    equation 5, with the targets q in place of the label: CE(f(x), q) + β · KL(f(x) ‖ f(x')).

    Args:
        clean_logits, adversarial_logits: (B, K), float, of the same images.
        targets: (B, K), float probabilities.
        beta: at least 0; 6 in the paper.
    """
    return soft_cross_entropy(clean_logits, targets) + beta * divergence(clean_logits, adversarial_logits).mean()


def mart(clean_logits: Tensor, adversarial_logits: Tensor, targets: Tensor, labels: Tensor, *, beta: float) -> Tensor:
    """Boosted cross-entropy on attacked images plus β times a divergence that weighs misclassified images more.

    Wang et al., *Improving Adversarial Robustness Requires Revisiting Misclassified Examples* (ICLR 2020), equation
    11: −log p_y(x') − log(1 − max_{k≠y} p_k(x')) + β · KL(f(x) ‖ f(x')) · (1 − p_y(x)). With soft targets q the first
    term is CE(f(x'), q); y stays the true class in the other two.

    Args:
        clean_logits, adversarial_logits: (B, K), float, of the same images.
        targets: (B, K), float probabilities.
        labels: (B,), int64 class indices.
        beta: at least 0; 5 in the paper.
    """
    log_adversarial = _log_probabilities(adversarial_logits)
    wrong = log_adversarial.masked_fill(functional.one_hot(labels, log_adversarial.shape[1]).bool(), -torch.inf)
    strongest = functional.one_hot(wrong.argmax(1), wrong.shape[1]).bool()
    # log(1 − p_k) as the sum of all others, which is exact where p_k is nearly 1.
    margin = -log_adversarial.masked_fill(strongest, -torch.inf).logsumexp(1)
    doubt = 1 - _log_probabilities(clean_logits).gather(1, labels[:, None]).squeeze(1).exp()
    weighted = divergence(clean_logits, adversarial_logits) * doubt
    return soft_cross_entropy(adversarial_logits, targets) + margin.mean() + beta * weighted.mean()


def ikl(
    clean_logits: Tensor,
    adversarial_logits: Tensor,
    targets: Tensor,
    class_weights: Tensor | None,
    *,
    alpha: float,
    beta: float,
) -> Tensor:
    """Cross-entropy on clean images plus the improved divergence of the attacked ones, in the place of TRADES' own.

    IKL-AT of Cui et al., *Decoupled Kullback-Leibler Divergence Loss* (NeurIPS 2024, arXiv 2305.13948):
    :mod:`adsr_hf.method.ikl` derives it and says which part takes what.

    Args:
        clean_logits, adversarial_logits: (B, K), float, of the same images.
        targets: (B, K), float probabilities.
        class_weights: (B, K), float probabilities, of :meth:`adsr_hf.method.ikl.ClassMeans.of`.
        alpha: at least 0; 20 for CIFAR.
        beta: at least 0; 4 for CIFAR-10.

    Raises:
        ValueError: without ``class_weights``.
    """
    if class_weights is None:
        raise ValueError("class_weights=None: objective='ikl' needs the weights of each image's true class, (B, K)")
    improved = improved_divergence(clean_logits, adversarial_logits, class_weights, alpha=alpha, beta=beta)
    return soft_cross_entropy(clean_logits, targets) + improved.mean()


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype.itemsize >= 4 else logits.float()


def _log_probabilities(logits: Tensor) -> Tensor:
    return functional.log_softmax(_wide(logits), dim=1)
