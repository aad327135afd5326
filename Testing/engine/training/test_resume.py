"""A run's networks, optimizer and randomness go through a checkpoint and come back the same."""

from __future__ import annotations

import torch
from torch import nn

from uncol.training.resume import (
    load_modules,
    load_optimizer,
    load_random,
    module_tensors,
    optimizer_tensors,
    part_of,
    random_tensors,
)

CPU = torch.device("cpu")


def network_after(steps: int) -> tuple[nn.Linear, torch.optim.Optimizer]:
    network = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(steps):
        step(network, optimizer)
    return network, optimizer


def step(network: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    network(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()


def test_a_network_and_its_optimizer_go_on_as_if_nothing_had_happened():
    network, optimizer = network_after(3)
    live = module_tensors(student=network) | optimizer_tensors(optimizer)
    tensors = {name: tensor.clone() for name, tensor in live.items()}  # as a checkpoint does
    other, other_optimizer = network_after(1)

    load_modules(tensors, student=other)
    load_optimizer(tensors, other_optimizer)
    for each in ((network, optimizer), (other, other_optimizer)):
        step(*each)

    assert torch.equal(network.weight, other.weight)
    assert torch.equal(network.bias, other.bias)


def test_modules_keep_apart_by_their_names():
    tensors = module_tensors(student=nn.Linear(1, 1), specialized=nn.Linear(1, 1, bias=False))

    assert sorted(tensors) == ["specialized.weight", "student.bias", "student.weight"]
    assert sorted(part_of(tensors, "student.")) == ["bias", "weight"]


def test_random_numbers_go_on_where_they_were():
    generator = torch.Generator().manual_seed(5)
    state = random_tensors(generator, CPU)
    expected = torch.rand(2, generator=generator), torch.rand(2)

    other = torch.Generator()
    load_random(state, other, CPU)

    assert torch.equal(torch.rand(2, generator=other), expected[0])
    assert torch.equal(torch.rand(2), expected[1])
