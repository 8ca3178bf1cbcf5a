"""Losses, optimisers and schedules as PyTorch has them.

Usage: adapt_training.py OUTPUT_FOLDER
Writes training.json:
  "losses"      rows of logits, classes, probabilities, label smoothing -> loss and gradient
  "optimizers"  settings, learning rates, and the values after each of some steps from `numbers`: value i begins at
                numbers("value")[i] and has in step s the gradient numbers("gradient s")[i]; both lists are stored
  "schedules"   shares of the largest learning rate in each step
Versions: torch 2.15.0.
"""

import json
import pathlib
import sys

import torch

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


found = {"losses": losses(), "optimizers": optimizers(), "schedules": schedules()}
(pathlib.Path(sys.argv[1]) / "training.json").write_text(json.dumps(found))
