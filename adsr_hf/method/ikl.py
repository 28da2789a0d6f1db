"""The improved Kullback-Leibler divergence (IKL), and the class-wise mean predictions that weigh it.

Cui et al., *Decoupled Kullback-Leibler Divergence Loss* (NeurIPS 2024, arXiv 2305.13948). Logits m of a clean image
and n of its attacked version, s = softmax(m), r = softmax(n), Δm_jk = m_j − m_k, and S(·) a constant for the gradient.

KL(s ‖ r) = Σ_j s_j (log s_j − log r_j) has the gradients

    ∂/∂m_j = s_j Σ_k s_k (Δm − Δn)_jk        since log s_j − log r_j − KL = Σ_k s_k (Δm − Δn)_jk
    ∂/∂n_j = r_j − s_j.

The first is that of ¼ Σ_jk S(s_j s_k) (Δm − S(Δn))²_jk, a weighted squared error (each pair counts twice, and the
square gives the other 2); the second is that of the cross-entropy −Σ_j S(s_j) log r_j. Their sum is the decoupled
divergence (DKL): other values than KL, the same gradients. Clean logits learn from the squared error alone, attacked
ones from the cross-entropy alone. IKL weighs the parts by α and β and makes two changes:

    IKL = α/4 Σ_jk w_j w_k (Δm − Δn)²_jk − β Σ_j S(s_j) log r_j,        w = w̄_y

1. Δn is no constant, so that the squared error teaches both outputs: its gradients in m and n are opposite.
2. The weights are not the image's own prediction but w̄_y, the mean prediction of its true class y: see
   :class:`ClassMeans`. They carry no gradient.

In training it takes the place of TRADES' divergence: CE(f(x), q) + IKL, against the attack of TRADES, which maximises
KL(s ‖ r) and so never sees a label. Soft targets q, from any source, go into the cross-entropy on clean images and
nowhere else; the weights w̄_y go by the true class alone, and IKL's own cross-entropy by the clean output s.

With d = m − n no pairs need be formed: as Σ_j w_j = 1, Σ_jk w_j w_k (d_j − d_k)² is twice the variance of d under w.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional


def improved_divergence(
    clean_logits: Tensor, adversarial_logits: Tensor, weights: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """IKL of each image, (B,), differentiable in both logits; computed in float32 or wider.

    Args:
        clean_logits, adversarial_logits: (B, K), float, of the same images.
        weights: (B, K), rows of probabilities: each image's w̄_y.
        alpha: of the squared error, at least 0; 20 for CIFAR.
        beta: of the cross-entropy against the clean output, at least 0; 4 for CIFAR-10.

    Example:
        >>> clean, attacked = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> even = torch.tensor([[0.5, 0.5]])
        >>> improved_divergence(clean, attacked, even, alpha=4.0, beta=0.0)
        tensor([0.5000])
    """
    clean, adversarial = _wide(clean_logits), _wide(adversarial_logits)
    cross_entropy = functional.cross_entropy(adversarial, clean.detach().softmax(1), reduction="none")
    return alpha * squared_error(clean, adversarial, weights) + beta * cross_entropy


def squared_error(clean_logits: Tensor, adversarial_logits: Tensor, weights: Tensor) -> Tensor:
    """¼ Σ_jk w_j w_k (Δm − Δn)²_jk of each image, (B,): half the variance of m − n under w.

    Args:
        clean_logits, adversarial_logits: (B, K), float32 or wider, of the same images.
        weights: (B, K), rows of probabilities.
    """
    weights = weights.detach().to(clean_logits.dtype)
    difference = clean_logits - adversarial_logits
    centred = difference - (weights * difference).sum(1, keepdim=True)
    return (weights * centred.square()).sum(1) / 2


class ClassMeans:
    """Mean prediction of every true class over the epoch before: w̄_y = mean of softmax(m / τ) over images of class y.

    In the first epoch every class weighs every class by 1/K. An epoch's means are of the predictions that its training
    steps made anyway, clean images under the weights of their step, as in the authors' code; a class that an epoch has
    not met keeps its mean.

    Attributes:
        means: (K, K), float64, rows sum to 1: row y is w̄_y.

    Args:
        num_classes: K, at least 2.
        temperature: τ, above 0; 4 in the authors' scripts.
        device: of the logits.

    Example:
        >>> means = ClassMeans(2, temperature=1.0)
        >>> means.begin_epoch(0)
        >>> means.add(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([0, 0]))
        >>> means.begin_epoch(1)
        >>> means.of(torch.tensor([0, 1]))
        tensor([[0.7410, 0.2590],
                [0.5000, 0.5000]])
    """

    def __init__(self, num_classes: int, *, temperature: float, device: torch.device | str = "cpu") -> None:
        self._temperature = temperature
        self._epoch = 0
        self.means = torch.full((num_classes, num_classes), 1 / num_classes, dtype=torch.float64, device=device)
        # Sums of predictions, and in the last column the number of images, of the epoch that is under way.
        self._sums = torch.zeros(num_classes, num_classes + 1, dtype=torch.float64, device=device)

    def begin_epoch(self, epoch: int) -> None:
        """Take over the means of the epoch that is over, where another one is under way than at the last call."""
        if epoch == self._epoch:
            return
        self._epoch = epoch
        sums, images = self._sums[:, :-1], self._sums[:, -1:]
        self.means = torch.where(images > 0, sums / images.clamp(min=1), self.means)
        self._sums = torch.zeros_like(self._sums)

    def of(self, labels: Tensor) -> Tensor:
        """w̄_y of each image, (B, K), float32.

        Args:
            labels: (B,), int64 true classes.
        """
        return self.means[labels].float()

    @torch.no_grad()
    def add(
        self, clean_logits: Tensor, labels: Tensor, *, total: Callable[[Tensor], Tensor] = lambda sums: sums
    ) -> None:
        """Count the predictions of one micro-batch, for the epoch to come.

        Args:
            clean_logits: (B, K), float.
            labels: (B,), int64 true classes.
            total: sums a tensor over all processes, so that each has the means of all images.
        """
        predictions = (clean_logits.double() / self._temperature).softmax(1)
        with_count = functional.pad(predictions, (0, 1), value=1.0)
        # A product of matrices, since adding at indices has no fixed order on a GPU.
        members = functional.one_hot(labels, len(self.means)).double()
        self._sums = self._sums + total(members.T @ with_count)

    def state_dict(self) -> dict[str, Tensor]:
        """What a continued run must know: the means in use, the sums of the epoch so far, and which epoch it is."""
        return {
            "class_means": self.means,
            "class_means.sums": self._sums,
            "class_means.epoch": torch.tensor(self._epoch),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state made by :meth:`state_dict`."""
        device = self.means.device
        self.means = state["class_means"].to(device, copy=True)
        self._sums = state["class_means.sums"].to(device, copy=True)
        self._epoch = int(state["class_means.epoch"])


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
