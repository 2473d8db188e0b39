r"""
A layer that stays orthonormal
==============================

A layer with orthonormal columns, :math:`W^T W = I`, neither stretches what passes through it nor the gradients that
come back. In a training loop of one's own this takes two lines: the Riemannian gradient, and a retraction,

.. math:: W \leftarrow R_W(-\eta \operatorname{grad} \ell(W)) .
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits

from manifolds import Euclidean, Stiefel

# %%
# Digits go through a layer of 16 columns, a nonlinearity and a linear classifier. ``manifold.at(W)`` is the geometry
# at the weights. The same loop on Euclidean space is the same network without the constraint.

images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
images, losses, spectra, accuracy = images.float() / 16, {}, {}, {}
for name, manifold in {"orthonormal": Stiefel(64, 16), "free": Euclidean(64, 16)}.items():
    generator = torch.Generator().manual_seed(0)
    W = Stiefel(64, 16).random_point(rng=0, like=images).requires_grad_()
    head = (0.1 * torch.randn(16, 10, generator=generator)).requires_grad_()
    losses[name] = torch.zeros(600)
    for step, rows in enumerate(torch.randint(0, 1400, (600, 64), generator=generator)):
        loss = torch.nn.functional.cross_entropy(4 * torch.tanh(images[rows] @ W) @ head, labels[rows])
        gradient, head_gradient = torch.autograd.grad(loss, (W, head))
        with torch.no_grad():
            head -= 0.1 * head_gradient
            here = manifold.at(W)
            W.copy_(here.retraction(-0.1 * here.riemannian_gradient(gradient)))
        losses[name][step] = loss.item()
    spectra[name] = torch.linalg.svdvals(W.detach())
    accuracy[name] = ((torch.tanh(images[1400:] @ W) @ head).argmax(dim=1) == labels[1400:]).double().mean().item()

# %%
# After 600 steps the columns are orthonormal to the accuracy of single precision, and unseen digits are recognized.

assert torch.allclose(spectra["orthonormal"], torch.ones(16), atol=1e-5)
assert accuracy["orthonormal"] > 0.85

# %%

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for name in losses:
    left.plot(losses[name].unfold(0, 20, 1).mean(dim=1), label=f"{name}: {accuracy[name]:.0%} of unseen digits")
    right.plot(range(1, 17), spectra[name], "o-", markersize=4)
left.set(xlabel="training step", ylabel="loss, mean over 20 steps")
right.set(xlabel="index", ylabel="singular value of the layer", ylim=(0, None))
left.legend(frameon=False)

# %%
# The constrained network recognizes as many unseen digits, and all of its singular values stay at one; those of the
# free layer drift apart.
