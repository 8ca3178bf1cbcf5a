"""Losses, optimisers and schedules as PyTorch has them.

Usage: adapt_training.py OUTPUT_FOLDER
Writes training.json:
  "losses"      rows of logits, classes, probabilities, label smoothing -> loss and gradient
  "optimizers"  settings, learning rates, and the values after each of some steps from `numbers`: value i begins at
                numbers("value")[i] and has in step s the gradient numbers("gradient s")[i]; both lists are stored
  "lamb"        sizes and weight decays of tensors, one behind the other; start, learning rates, gradients and values as above
  "averages"    the mean of a trajectory of weights behind each of its points (`AveragedModel`)
  "schedules"   shares of the largest learning rate in each step
Versions: torch 2.15.0, timm 1.0.31.
"""

import json
import pathlib
import sys

import torch
from timm.optim import Lamb

torch.manual_seed(0)
torch.set_num_threads(1)
VALUES, STEPS = 7, 6


def losses():
    logits = torch.randn(5, 4) * 3
    classes = torch.tensor([0, 3, 1, 1, 2])
    soft = torch.randn(5, 4).softmax(1)
    found = []
    for targets in (classes, soft):
        for smoothing in (0.0, 0.1):
            variable = logits.clone().double().requires_grad_(True)
            goal = targets if targets.ndim == 1 else targets.double()
            loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(variable, goal)
            loss.backward()
            kind = "classes" if targets.ndim == 1 else "probabilities"
            found.append({kind: targets.tolist(), "smoothing": smoothing, "loss": loss.item(), "gradient": variable.grad.tolist()})
    return {"logits": logits.tolist(), "cases": found}


def optimizers():
    start = torch.randn(VALUES)
    gradients = torch.randn(STEPS, VALUES)
    rates = [0.1, 0.05, 0.2, 0.1, 0.1, 0.01]
    settings = [
        ("sgd", {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
        ("sgd", {"momentum": 0.9, "nesterov": False, "weight_decay": 0.01}),
        ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0005}),
        ("adamw", {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}),
        ("adamw", {"betas": [0.8, 0.99], "eps": 1e-6, "weight_decay": 0.1}),
    ]
    found = []
    for name, options in settings:
        value = start.clone().double().requires_grad_(True)
        kind = torch.optim.SGD if name == "sgd" else torch.optim.AdamW
        optimizer = kind([value], lr=0.1, **{key: tuple(v) if isinstance(v, list) else v for key, v in options.items()})
        steps = []
        for rate, gradient in zip(rates, gradients):
            optimizer.param_groups[0]["lr"] = rate
            value.grad = gradient.double()
            optimizer.step()
            steps.append(value.detach().tolist())
        found.append({"name": name, **options, "values": steps})
    return {"start": start.tolist(), "gradients": gradients.tolist(), "rates": rates, "cases": found}


def lamb():
    """A weight, one without decay, one of zeros, and one whose gradient is zero at first."""
    tensors = [(40, 0.01), (5, 0.0), (6, 0.01), (4, 0.1)]
    values = [torch.randn(size) for size, _ in tensors]
    values[2].zero_()
    start = torch.cat(values)
    gradients = torch.randn(20, len(start)) * torch.logspace(-3, 1, len(start))
    gradients[:3, -4:] = 0
    rates = [0.01 * (1 + step % 5) for step in range(20)]
    parameters = [value.double().requires_grad_(True) for value in values]
    groups = [{"params": [p], "weight_decay": decay} for p, (_, decay) in zip(parameters, tensors)]
    optimizer = Lamb(groups, max_grad_norm=None, trust_clip=False, always_adapt=False)
    found = []
    for rate, gradient in zip(rates, gradients):
        for group, part in zip(optimizer.param_groups, gradient.double().split([size for size, _ in tensors])):
            group["lr"] = rate
            group["params"][0].grad = part
        optimizer.step()
        found.append(torch.cat([p.detach() for p in parameters]).tolist())
    sizes = [{"size": size, "weight_decay": decay} for size, decay in tensors]
    return {"tensors": sizes, "start": start.tolist(), "rates": rates, "gradients": gradients.tolist(), "values": found}


def averages():
    trajectory = torch.randn(STEPS, VALUES)
    model = torch.nn.Linear(VALUES, 1, bias=False)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    found = []
    for weights in trajectory:
        model.weight.data = weights.unsqueeze(0)
        averaged.update_parameters(model)
        found.append(averaged.module.weight.data.squeeze(0).tolist())
    return {"trajectory": trajectory.tolist(), "means": found}


def shares(make, steps):
    value = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def schedules():
    kinds = torch.optim.lr_scheduler
    one_cycle = lambda optimizer: kinds.OneCycleLR(optimizer, 1.0, total_steps=20, pct_start=0.3, div_factor=25, final_div_factor=1e4)
    return {
        "cosine": shares(lambda optimizer: kinds.CosineAnnealingLR(optimizer, 20), 20),
        "one_cycle": shares(one_cycle, 20),
        "step": shares(lambda optimizer: kinds.StepLR(optimizer, 5, 0.1), 20),
    }


found = {"losses": losses(), "optimizers": optimizers(), "schedules": schedules(), "averages": averages(), "lamb": lamb()}
(pathlib.Path(sys.argv[1]) / "training.json").write_text(json.dumps(found))
