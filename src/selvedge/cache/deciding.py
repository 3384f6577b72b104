"""How a similar question is decided: what a decider sees, what it says, and what it learns.

A route is one scope and one model. On each question the cache finds the nearest kept entry of its
bucket, and the gates have let the pair through; a `Decider` then says whether that entry's answer
is served. On a miss the model answers, a judge compares its answer with the nearest entry's off the
request path, and the decider learns: so every miss that has a neighbour is an observation, and a
sampled hit that was answered again (an audit) is one too.

**Entry and cluster.** An entry is one question that was answered; a cluster is what shares one
answer. A question that was judged to have its neighbour's answer joins the neighbour's cluster;
otherwise the judge compares with a few more near by (`pairing.also_compared`), and where none is
the same it opens a cluster of its own. `rival` is the nearest entry of another cluster: two
clusters that in truth have one answer only make a decider more careful.

A decider knows nothing of texts, vectors, clocks or files, and draws no numbers: ``draw`` is an
argument. `decide` is cheap (some microseconds); `learn` fits again now and then and belongs off the
request path.
"""

from __future__ import annotations

from typing import Final, Protocol

from selvedge.fabric.value import Value

NEAR: Final = 0.1
"""Within so much similarity of the nearest entry, others count as near by."""


class Pair(Value, frozen=True):
    """A question and its nearest kept entry, as numbers."""

    similarity: float
    """Cosine of the two embeddings."""
    rival: float = -1.0
    """Similarity of the nearest entry of the bucket with another answer; -1: there is none."""
    near: int = 0
    """How many other answers have an entry less than `NEAR` less similar than the nearest."""
    overlap: float = 0.0
    """Content words in both, over content words in either (Jaccard)."""
    length: int = 0
    """Words of the new question."""
    agree: int = 0
    """How many more entries of the nearest one's cluster are less than `NEAR` less similar."""


class Verdict(Value, frozen=True):
    """Whether to serve; `bound` is what is held about it, from 0 to 1, and `why` says it in words.

    The bound of `static` is the similarity itself, which says nothing about errors; of `verified`,
    the least probability of being right of what is returned; of `bounded`, the lower bound of the
    probability that a hit is right.
    """

    serve: bool
    bound: float
    why: str


class Decider(Protocol):
    """Decides and learns for one route."""

    def decide(self, pair: Pair, entry: str, cluster: str, draw: float) -> Verdict:
        """Whether the entry's answer is served; ``draw`` is uniform in [0, 1)."""
        ...

    def learn(self, pair: Pair, entry: str, cluster: str, correct: bool) -> None:
        """Takes what the judge said of such a pair. Off the request path: it may take long."""
        ...

    def inserts(self, correct: bool) -> bool:
        """Whether a question that was a miss becomes an entry, where its nearest entry's answer was
        ``correct`` for it. Where it had no neighbour, it always does."""
        ...

    def dump(self) -> bytes:
        """What was learned, for `decider_of`, of a later process or of another route."""
        ...
