"""Parts of a run's state as tensors by name, for its checkpoint: networks, optimizer, randomness."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def module_tensors(**modules: nn.Module) -> dict[str, Tensor]:
    """Return the weights of modules, each under its name."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def load_modules(tensors: Mapping[str, Tensor], **modules: nn.Module) -> None:
    """Take over what `module_tensors` returned."""
    for name, module in modules.items():
        module.load_state_dict(part_of(tensors, f"{name}."))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer remembers of each parameter."""
    states = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{key}": value for index, state in states.items() for key, value in state.items()}


def load_optimizer(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Take over what `optimizer_tensors` returned; rates and other settings stay."""
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in part_of(tensors, "optimizer.").items():
        index, _, name = key.partition(".")
        states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def random_tensors(generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """Return the state of the run's own generator, of torch's, and of the GPU's."""
    tensors = {"random.sampling": generator.get_state(), "random.torch": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def load_random(tensors: Mapping[str, Tensor], generator: torch.Generator, device: torch.device) -> None:
    """Take over what `random_tensors` returned."""
    generator.set_state(tensors["random.sampling"])
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
