"""The picture of "Canonical correlation analysis": correlations in and out of sample, and what two components are."""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from problems import CCA, correlation_circle, cross_validated_correlations, scree_plot

images = load_digits().images / 16
X, y = images[:, :, :4].reshape(len(images), -1), images[:, :, 4:].reshape(len(images), -1)
cca = CCA(8, reg=1e-4).fit(X, y)
fig, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
scree_plot(cca, cross_validated_correlations(cca, X, y), ax=axes[0])
names = [[f"({i},{j + shift})" for i in range(8) for j in range(4)] for shift in (0, 4)]
correlation_circle(cca, X, y, names=(names[0], names[1]), largest=5, ax=axes[1])
