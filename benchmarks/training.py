"""A training step of our transformer beside the same step of `transformers`' Llama: same weights, batch and optimizer.

    python benchmarks/training.py [--threads 1] [--rounds 5]

The two take turns, a few steps each, so that a drift of the machine meets both. Reported are tokens per CPU second,
median over rounds, and their ratio; the losses of both are printed too, because a fast wrong step is worth nothing.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from transformers import LlamaForCausalLM

from tilth.model import ModelConfig, Transformer
from tilth.model.hf import to_hf_config, to_hf_state

STEPS = 8
SHAPES = {
    "1.3M": ModelConfig(vocab_size=4096, d_model=128, n_layers=4, n_heads=2, context_length=256),
    "10M": ModelConfig(vocab_size=4096, d_model=320, n_layers=7, n_heads=5, context_length=256),
}


def ours(config: ModelConfig) -> tuple[Transformer, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Returns our model and its loss (nats per token) of inputs and targets."""
    model = Transformer(config)
    with torch.no_grad():
        for weight in model.parameters():  # fresh output projections are zero, which would make some work trivial
            weight.add_(0.02 * torch.randn_like(weight))
    return model, lambda inputs, targets: model(inputs, targets=targets)


def peer(model: Transformer) -> tuple[LlamaForCausalLM, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Returns transformers' model with the same weights, and its loss."""
    from transformers import LlamaConfig

    settings = to_hf_config(model.config, dtype=torch.float32)
    other = LlamaForCausalLM(LlamaConfig(**settings))
    other.load_state_dict(to_hf_state(model.state_dict(), model.config), strict=False)

    def loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = other(input_ids=inputs, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return other, loss


def run(
    model: torch.nn.Module,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    ids: torch.Tensor,
) -> tuple[float, float]:
    """Takes `STEPS` steps; returns tokens per CPU second and the last loss."""
    started = time.process_time()
    value = 0.0
    for _ in range(STEPS):
        loss = loss_of(ids[:, :-1], ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = float(loss.detach())
    return STEPS * ids[:, 1:].numel() / (time.process_time() - started), value


def compare(name: str, config: ModelConfig, rounds: int) -> None:
    """Prints one line for one shape."""
    torch.manual_seed(0)
    first, first_loss = ours(replace(config))
    second, second_loss = peer(first)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=1e-3, fused=True) for m in (first, second)]
    ids = torch.randint(0, config.vocab_size, (2, config.context_length + 1))
    rates: tuple[list[float], list[float]] = ([], [])
    losses = [0.0, 0.0]
    for turn in range(rounds + 1):
        for place, (model, loss_of) in enumerate(((first, first_loss), (second, second_loss))):
            rate, losses[place] = run(model, loss_of, optimizers[place], ids)
            if turn > 0:  # the first turn warms up
                rates[place].append(rate)
    us, them = (statistics.median(r) for r in rates)
    print(
        f"{name:>5}  tilth {us:8,.0f} tokens/CPU s   transformers {them:8,.0f}   "
        f"ratio {us / them:.2f}   losses {losses[0]:.4f} {losses[1]:.4f}"
    )


def main() -> None:
    """Compares all shapes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    print(f"512 tokens a step, fp32, {options.threads} threads, median of {options.rounds} rounds of {STEPS} steps")
    for name, config in SHAPES.items():
        compare(name, config, options.rounds)


if __name__ == "__main__":
    main()
