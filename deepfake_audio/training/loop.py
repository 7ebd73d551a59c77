"""The training loop: batches made ahead, one step after the other, state kept on disk."""

from __future__ import annotations

import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from ..model import Branch, ModelOutput, Network, build_network
from .objectives import Objective
from .ranks import ALONE, Ranks, share_statistics
from .recipe import OptimConfig, Recipe
from .sampler import Batch, BatchMaker
from .sharpness import still_statistics, worst_nearby
from .state import TrainingState
from .teachers import Teachers

STATE_NAME = "state.safetensors"
LOG_NAME = "log.jsonl"
_AHEAD = 4  # batches in the making while the network works
_WORKERS = 2

Look = Callable[[Network, int], dict[str, float]]
Progress = Callable[[int, dict[str, float]], None]


def learning_rate(step: int, optim: OptimConfig) -> float:
    """Rate of a step: linear warm-up, then half a cosine down to its end."""
    if step < optim.warmup_steps:
        return optim.learning_rate * (step + 1) / optim.warmup_steps
    done = (step - optim.warmup_steps) / max(optim.steps - optim.warmup_steps, 1)
    falling = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return optim.learning_rate * (optim.final_rate + (1 - optim.final_rate) * falling)


def spec_augment(features: Tensor, freq_mask: float, time_mask: float) -> Tensor:
    """Hide one random band range and one random time range of each clip behind its mean.

    Parameters
    ----------
    features : Tensor, shape (batch, channels, rows, frames)
    freq_mask, time_mask : float
        Largest share of rows and of frames hidden (SpecAugment, Park et al., 1904.08779; the mean
        instead of zero as in SpecAverage, Cohen et al., 2110.10491).
    """
    batch, _, rows, frames = features.shape
    hidden = torch.zeros(batch, 1, rows, frames, dtype=torch.bool, device=features.device)
    for size, share, axis in ((rows, freq_mask, 2), (frames, time_mask, 3)):
        width = torch.rand(batch, 1) * share * size
        start = torch.rand(batch, 1) * (size - width)
        index = torch.arange(size)[None]
        inside = ((index >= start) & (index < start + width)).to(features.device)
        hidden |= inside[:, None, :, None] if axis == 2 else inside[:, None, None, :]
    return torch.where(hidden, features.mean((2, 3), keepdim=True), features)


def mix_styles(features: Tensor, probability: float, alpha: float = 0.3) -> Tensor:
    """Give clips the mean and deviation of each band, or some of them, of another in the batch.

    These say more of the microphone, the room and the line than of the voice (Freq-MixStyle,
    Kim et al., 2206.12513, after Zhou et al., 2104.02008).

    Parameters
    ----------
    features : Tensor, shape (batch, channels, rows, frames)
    probability : float
        Share of the clips that this is done to.
    alpha : float
        Both parameters of the beta distribution of the mixing weight; a clip keeps the larger part
        of its own.
    """
    batch = features.shape[0]
    mean = features.mean(3, keepdim=True)
    deviation = features.std(3, keepdim=True) + 1e-4
    other = torch.randperm(batch)
    own = torch.distributions.Beta(alpha, alpha).sample((batch, 1, 1, 1))
    applies = torch.rand(batch, 1, 1, 1) < probability
    own = torch.where(applies, torch.maximum(own, 1 - own), 1.0).to(features)
    new_mean = own * mean + (1 - own) * mean[other]
    new_deviation = own * deviation + (1 - own) * deviation[other]
    return (features - mean) * (new_deviation / deviation) + new_mean


def make_state(recipe: Recipe, device: torch.device) -> TrainingState:
    """Return the state of a run that has not begun."""
    network = build_network(recipe.frontend, recipe.model, seed=recipe.optim.seed).to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    objective = Objective(recipe.optim, recipe.model.embedding_dim, recipe.distill).to(device)
    parameters = [*network.parameters(), *objective.parameters()]
    # Norms and biases have one dimension; decaying them does harm and no good.
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=recipe.optim.learning_rate, weight_decay=recipe.optim.weight_decay
    )
    return TrainingState(network, average, objective, optimizer)


def train_step(
    state: TrainingState,
    batch: Batch,
    optim: OptimConfig,
    teachers: Teachers | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Fit the network to one batch, or with others to it; returns losses and gradient norm."""
    # Dropout and masks are functions of the step too: this is what makes resuming exact.
    seed = optim.seed * 1_000_003 + state.step + ranks.seed_offset
    torch.manual_seed(seed)
    network = state.network.train()
    assert isinstance(network, Network)
    [branch] = network.branches  # each is trained on its own
    assert isinstance(branch, Branch)
    device_type = batch.waveforms.device.type
    with torch.no_grad():
        features = branch.frontend(batch.waveforms)
        features = spec_augment(features, optim.freq_mask, optim.time_mask)
        if optim.style_mix:  # what is off draws no random numbers
            features = mix_styles(features, optim.style_mix)
    heard = batch.waveforms if batch.clean is None else batch.clean
    taught = ranks.gather(teachers(heard)) if teachers else None
    whole = batch.map_labels(ranks.gather)

    def backward() -> dict[str, Tensor]:
        """Put the gradient into the weights; returns the losses."""
        state.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device_type, torch.bfloat16, enabled=optim.precision == "bf16"):
            output = branch.body(features)
        output = ModelOutput(*(ranks.gather(part.float()) for part in output))
        parts: dict[str, Tensor] = state.objective(output, whole, taught)
        parts["total"].backward()
        ranks.sum_gradients(network.parameters())
        return parts

    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.step, optim)
    if optim.sharpness:
        torch.manual_seed(seed)  # the same units are dropped in both passes
    parts = backward()
    if optim.sharpness:
        torch.manual_seed(seed)
        near = worst_nearby(
            network.parameters(), optim.sharpness, adaptive=optim.sharpness_adaptive
        )
        with near, still_statistics(network):
            backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), optim.grad_clip)
    state.optimizer.step()
    state.step += 1
    state.update_average(optim.ema_decay, optim.average_from)
    return {**{k: float(v.detach()) for k, v in parts.items()}, "grad_norm": float(norm)}


def batches_ahead(maker: BatchMaker, first: int, last: int) -> Iterator[Batch]:
    """Yield the batches of steps ``first`` to ``last - 1`` in order, made on other threads."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: list[Future[Batch]] = []
        for step in range(first, last):
            while len(waiting) < _AHEAD and step + len(waiting) < last:
                waiting.append(pool.submit(maker.make, step + len(waiting)))
            yield waiting.pop(0).result()


class _Interrupts:
    """Holds Ctrl-C and SIGTERM back until the step in progress is done.

    Half a step would leave statistics moved and weights not; a second signal does not wait. Off
    the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self._usual: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._usual[number] = signal.signal(number, self._hold)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _hold(self, number: int, frame: FrameType | None) -> None:
        self.pending = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)
        self._usual = {}

    def deliver(self) -> None:
        """Let a signal that came meanwhile do what it does."""
        if self.pending is not None:
            signal.raise_signal(self.pending)


def run(
    recipe: Recipe,
    maker: BatchMaker,
    out: Path,
    *,
    device: torch.device,
    identity: dict[str, Any],
    teachers: Teachers | None = None,
    ranks: Ranks = ALONE,
    look: Look | None = None,
    on_progress: Progress | None = None,
    stop_after: int | None = None,
) -> TrainingState:
    """Train from wherever ``out`` left off until the recipe's last step.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    maker : BatchMaker
        Where batches come from.
    out : Path
        Folder of the state and of the log (one JSON object a line).
    identity : dict
        What the run depends on; a state with another identity is refused.
    teachers : Teachers, optional
        Whom the network also learns from.
    ranks : Ranks
        The processes that share each batch; the first of them writes and looks.
    look : callable, optional
        Measures the averaged network on dev; its figures go into the log.
    on_progress : callable, optional
        Called after each step with the step and the latest figures.
    stop_after : int, optional
        Save and return after this step instead of the last.
    """
    out.mkdir(parents=True, exist_ok=True)
    state = make_state(recipe, device)
    state_path = out / STATE_NAME
    if state_path.exists():
        state.restore(state_path, identity)
    if ranks.count > 1:
        share_statistics(state.network)
    last = min(recipe.optim.steps, stop_after or recipe.optim.steps)
    started = time.perf_counter()
    whole = True  # no step is half done
    with (out / LOG_NAME).open("a", encoding="utf-8") as log, _Interrupts() as interrupts:

        def write(entry: dict[str, Any]) -> None:
            if not ranks.leads:
                return
            log.write(json.dumps(entry) + "\n")
            log.flush()

        try:
            for batch in batches_ahead(maker, state.step, last):
                whole = False
                figures = train_step(state, batch.to(device), recipe.optim, teachers, ranks)
                whole = True
                interrupts.deliver()
                if state.step % 25 == 0:
                    seconds = round(time.perf_counter() - started, 2)
                    rounded = {key: round(value, 5) for key, value in figures.items()}
                    write({"step": state.step, "seconds": seconds, **rounded})
                if (
                    look
                    and ranks.leads
                    and (state.step % recipe.eval_every == 0 or state.step == last)
                ):
                    assert isinstance(state.average, Network)
                    figures = {**figures, **look(state.average, state.step)}
                    write({"step": state.step, "dev": figures})
                if state.step % recipe.save_every == 0 and ranks.leads:
                    state.save(state_path, identity)
                if on_progress:
                    on_progress(state.step, figures)
        finally:
            if whole and ranks.leads:
                state.save(state_path, identity)
    return state
