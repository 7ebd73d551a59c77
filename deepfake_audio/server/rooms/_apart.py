"""The process in which windows of rooms are scored; started by :mod:`.apart`.

Its arguments are the models to load. Says which it has, then reads windows from standard
input and answers with what is heard in them; :mod:`.apart` describes both. Ends with its input.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import BinaryIO

import numpy as np
import torch

from ..._process import prepare_for_batches
from ...checkpoint import load_checkpoint
from ...scoring import Scorer
from .. import logs
from .apart import COUNT, SHA_BYTES, read_exactly
from .backlog import warm_up

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve until standard input ends."""
    # Libraries may print to descriptor 1; the answers must stay clean of that.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logs.begin(logs.inherited())
    torch.set_num_threads(1)
    prepare_for_batches()
    scorers = {}
    for model in sys.argv[1:]:
        checkpoint = load_checkpoint(model)
        scorer = Scorer(checkpoint.network, checkpoint.header, "cpu")
        scorer.prepare()
        warm_up(scorer)
        scorers[checkpoint.sha256] = scorer
    answers.write(" ".join(scorers).encode() + b"\n")
    answers.flush()
    while sha256 := sys.stdin.buffer.read(SHA_BYTES):
        _answer(scorers[sha256.decode()], sys.stdin.buffer, answers)


def _answer(scorer: Scorer, questions: BinaryIO, answers: BinaryIO) -> None:
    count = int(np.frombuffer(read_exactly(questions, COUNT.itemsize), COUNT)[0])
    lengths = np.frombuffer(read_exactly(questions, COUNT.itemsize * count), COUNT)
    samples = np.frombuffer(read_exactly(questions, 4 * int(lengths.sum())), np.float32)
    try:
        heard = scorer.hear(np.split(samples, np.cumsum(lengths)[:-1]))
    except Exception:
        logger.exception("windows of rooms could not be scored")
        answers.write(COUNT.type(0).tobytes())
    else:
        answers.write(COUNT.type(count).tobytes())
        answers.write(np.stack(heard).astype(np.float64).tobytes())
    answers.flush()


if __name__ == "__main__":
    main()
