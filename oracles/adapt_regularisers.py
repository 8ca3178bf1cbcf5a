"""Losses that keep a network near its source, and their gradients: DELTA, batch spectral shrinkage, Co-Tuning, learning
without forgetting.

Usage: [TLLIB=CHECKOUT] adapt_regularisers.py OUTPUT_FOLDER
Writes regularisers.json:
  "feature_maps"  tuned and source maps (N × C × H × W), attention -> value and gradient, with and without attention
  "attention"     the loss with each filter switched off -> channel weights
  "spectra"       features, k -> value and gradient
  "co_tuning"     source probabilities and classes of examples -> relationship; logits and classes -> value and gradient
  "distillation"  tuned and source logits, temperature -> value and gradient
What is given is in single precision, and everything is computed from it in double; gradients are autograd's.

The reference is the Transfer-Learning-Library (tllib 0.4, github.com/thuml/Transfer-Learning-Library, commit
c4aa59eb565650a552b809411601d0589efbbfe4), which is on no package index. So the numbers here come from formulations of its
losses that share no line with it (singular values from the Gram matrix, soft cross-entropy, and so on). If TLLIB names the folder
of a checkout, the same tensors go through its classes and, for the attention, through the lines of its example delta.py, and
values and gradients have to agree within 1e-10 of the largest number of each. The greatest differences were: DELTA 4e-16,
attention 6e-08 (TLlib rounds it to single precision), spectra 5e-14, Co-Tuning none, distillation 3e-15.
Versions: torch 2.15.0.
"""

import ast
import json
import os
import pathlib
import sys
import types

import torch
from torch.nn import functional

torch.manual_seed(0)
torch.set_num_threads(1)
DOUBLE = torch.float64


def with_gradient(loss, at):
    variable = at.double().requires_grad_(True)
    value = loss(variable)
    value.backward()
    return {"value": value.item(), "gradient": variable.grad.tolist()}


class Theirs:
    """TLlib's functions."""

    def __init__(self, folder):
        # Without running tllib/__init__.py, which asks for packages of all its other parts.
        package = types.ModuleType("tllib")
        package.__path__ = [str(folder / "tllib")]
        sys.modules["tllib"] = package
        from tllib.regularization import bss, co_tuning, delta, knowledge_distillation

        self.shrinkage = lambda features, k: bss.BatchSpectralShrinkage(k)(features)
        self.relationship = lambda probabilities, classes: torch.from_numpy(
            co_tuning.Relationship.get_category_relationship(None, probabilities.numpy(), classes.numpy())
        )
        self.co_tuning = lambda logits, targets: co_tuning.CoTuningLoss()(logits, targets)
        self.distillation = lambda tuned, source, t: knowledge_distillation.KnowledgeDistillationLoss(t)(tuned, source)
        self.behaviour = lambda tuned, source: delta.BehavioralRegularization()({0: source}, {0: tuned})
        self.attentive = lambda tuned, source, attention: delta.AttentionBehavioralRegularization([attention])(
            {0: source}, {0: tuned}
        )
        self.example = folder / "examples/task_adaptation/image_classification/delta.py"

    def attention(self, losses):
        """The last lines of the example's calculate_channel_attention, from where the losses are known."""
        tree = ast.parse(self.example.read_text())
        function = next(node for node in tree.body if getattr(node, "name", "") == "calculate_channel_attention")
        begin = next(i for i, node in enumerate(function.body) if "channel_attention = []" in ast.unparse(node))
        lines = ast.Module([node for node in function.body[begin:] if not isinstance(node, ast.Return)], [])
        import numpy

        names = {"np": numpy, "torch": torch, "F": functional, "device": "cpu", "channel_weights": [losses.tolist()]}
        exec(compile(lines, str(self.example), "exec"), names)
        return names["channel_attention"][0].double()


class Ours:
    """The same from their equations."""

    def behaviour(self, tuned, source):
        return (tuned - source).square().sum() / 2

    def attentive(self, tuned, source, attention):
        per_channel = (tuned - source).square().mean((2, 3)).sum(0)
        return torch.dot(attention, per_channel) * len(attention) / 2

    def attention(self, losses):
        scores = (losses - losses.mean()) / losses.std(unbiased=False) / 5
        return scores.exp() / scores.exp().sum()

    def shrinkage(self, features, k):
        gram = features @ features.T if features.shape[0] <= features.shape[1] else features.T @ features
        return torch.linalg.eigvalsh(gram)[:k].sum()

    def relationship(self, probabilities, classes):
        members = functional.one_hot(classes).to(probabilities)
        return members.T @ probabilities / members.sum(0)[:, None]

    def co_tuning(self, logits, targets):
        return functional.cross_entropy(logits, targets)

    def distillation(self, tuned, source, temperature):
        expected = (source / temperature).softmax(1)
        cross = functional.cross_entropy(tuned / temperature, expected)
        return cross + (expected * expected.log()).sum(1).mean()


def feature_maps(of):
    tuned, source = torch.randn(2, 3, 5, 3, 2)
    attention = torch.randn(5).softmax(0)
    double = source.double()
    return {
        "tuned": tuned.tolist(),
        "source": source.tolist(),
        "attention": attention.tolist(),
        "plain": with_gradient(lambda variable: of.behaviour(variable, double), tuned),
        "attentive": with_gradient(lambda variable: of.attentive(variable, double, attention.double()), tuned),
    }


def attention(of):
    cases = [torch.rand(6, dtype=DOUBLE), torch.rand(33, dtype=DOUBLE) ** 4 * 1e-3 + 2, -torch.rand(2, dtype=DOUBLE)]
    return [{"losses": losses.tolist(), "weights": of.attention(losses).tolist()} for losses in cases]


def spectra(of):
    found = []
    for rows, columns in ((6, 11), (9, 4), (5, 5), (1, 3)):
        # Features behind a ReLU and an average over pixels are positive: one singular value is far above the others.
        features = torch.randn(rows, columns).abs()
        for k in sorted({1, min(3, rows, columns), min(rows, columns)}):
            found.append({"features": features.tolist(), "k": k, **with_gradient(lambda variable: of.shrinkage(variable, k), features)})
    return found


def co_tuning(of):
    probabilities = (torch.randn(14, 7) * 2).softmax(1)
    classes = torch.arange(14) % 3
    relationship = of.relationship(probabilities.double(), classes)
    logits, labels = torch.randn(5, 7) * 3, torch.tensor([2, 0, 1, 1, 2])
    # As the example does it: the relationship is in single precision.
    targets = relationship.float()[labels].double()
    return {
        "probabilities": probabilities.tolist(),
        "classes": classes.tolist(),
        "relationship": relationship.tolist(),
        "logits": logits.tolist(),
        "labels": labels.tolist(),
        **with_gradient(lambda variable: of.co_tuning(variable, targets), logits),
    }


def distillation(of):
    source = torch.randn(5, 7) * 3
    tuned = source + torch.randn(5, 7)
    cases = []
    for temperature in (1.0, 2.0, 3.0):
        loss = lambda variable: of.distillation(variable, source.double(), temperature)
        cases.append({"temperature": temperature, **with_gradient(loss, tuned)})
    return {"tuned": tuned.tolist(), "source": source.tolist(), "cases": cases}


def everything(of):
    torch.manual_seed(0)
    parts = (feature_maps, attention, spectra, co_tuning, distillation)
    return {part.__name__: part(of) for part in parts}


def differences(left, right):
    """Of each list of numbers and each number: the greatest difference over the greatest number."""
    if isinstance(left, dict):
        return max(differences(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(left[0], dict):
        return max(map(differences, left, right))
    left, right = torch.tensor(left, dtype=DOUBLE), torch.tensor(right, dtype=DOUBLE)
    return ((left - right).abs().max() / left.abs().max().clamp_min(1e-300)).item()


found = everything(Ours())
if "TLLIB" in os.environ:
    theirs = everything(Theirs(pathlib.Path(os.environ["TLLIB"])))
    for part in found:
        difference = differences(found[part], theirs[part])
        print(f"{part}: {difference:.0e} from TLlib")
        assert difference < (1e-6 if part == "attention" else 1e-10), part
(pathlib.Path(sys.argv[1]) / "regularisers.json").write_text(json.dumps(found))
