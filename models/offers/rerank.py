"""The online-learned order of candidates: a second-order conditional logit, one step per basket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

KEEP = 0.9995  # of what is known, per basket: about two thousand baskets are remembered


class Reranker:
    """Orders candidates by weights that every basket improves.

    Parameters
    ----------
    prior : weights before anything was learned. precision : how firmly they are believed.

    Notes
    -----
    Conditional logit: of all candidates shown to a user, which were bought? With scores ``s = X m`` and
    ``q = softmax(s)``, one Newton step per basket (recursive Laplace, in information form):
    ``P += X' (diag(q) - q q') X``, ``m += P^-1 X' (y / |y| - q)``. A basket counts once however many items it has: what
    is judged is the order within one user's list, not how large the basket is. Forgetting
    ``P`` by ``KEEP`` lets it follow a shop whose links fill up. Memory O(d^2), cost O(n d^2 + d^3).

    References
    ----------
    D. McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.

    Examples
    --------
    >>> ranker = Reranker(np.zeros(2))
    >>> for _ in range(50):
    ...     ranker.learn(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 0.0]))
    >>> bool(ranker.mean[0] > ranker.mean[1])
    True
    """

    def __init__(self, prior: Sequence[float] | FloatArray, precision: float = 1.0) -> None:
        self._prior = precision
        self.mean: FloatArray = np.array(prior, dtype=np.float64)
        self.precision: FloatArray = np.eye(len(self.mean)) * precision
        self.count = 0

    def learn(self, x: FloatArray, y: FloatArray) -> None:
        """Learn one list: features (n, d), and 1 where the candidate was bought."""
        total = y.sum()
        if total <= 0.0 or total >= len(y):
            return  # nothing was preferred to anything
        scores = x @ self.mean
        q = np.exp(scores - scores.max())
        q /= q.sum()
        centre = q @ x
        self.precision *= KEEP
        self.precision[np.diag_indices_from(self.precision)] += (1.0 - KEEP) * self._prior
        self.precision += x.T @ (q[:, None] * x) - np.outer(centre, centre)
        self.mean += np.linalg.solve(self.precision, (y @ x) / total - centre)
        self.count += 1
