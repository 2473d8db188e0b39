"""The picture of "Discriminant analysis": handwritten digits along two directions, and the eigenvalues."""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from problems import LDA, discriminant_scatter, discriminant_scree

X, y = load_digits(return_X_y=True)
lda = LDA().fit(X, y)
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
discriminant_scatter(lda, X, y, ax=axes[0])
discriminant_scree(lda, ax=axes[1])
