"""Sphinx configuration. The build needs no network; every public name must appear in the API reference."""

import importlib
import inspect
import os
import runpy
from importlib.metadata import version as distribution_version
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

PACKAGES = ("manifolds", "rankopt", "problems")

project = "Rankopt"
author = "Rankopt developers"
copyright = "2026, Rankopt developers"
release = distribution_version("rankopt")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx-mathjax-offline",  # formulas without network
    "numpydoc",
    "matplotlib.sphinxext.plot_directive",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery"]
templates_path = ["_templates"]
nitpicky = False

autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "none"  # the docstrings say it in words, with shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # docs/_templates/autosummary/class.rst shows them in full

plot_formats = [("svg", 100)]
plot_html_show_formats = False
plot_html_show_source_link = False

# Examples find public data sets where the benchmarks do.
os.environ["RANKOPT_DATA"] = str(runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "_data.py"))["DATA"])

# Every example runs in the build, and its assertions with it.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "gallery_built",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "Rankopt"
html_context = {"default_mode": "light"}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
}
_TEXTS = "index idea choosing subspaces cca lda multiview clusters gpu training completion sampled benchmarks migration"
html_sidebars = {page: [] for page in _TEXTS.split()}
html_show_sourcelink = False


def undocumented_names(env: BuildEnvironment) -> list[str]:
    """Public names that have no docstring or no place in the API reference, each with what it lacks."""
    described = env.domains["py"].data["objects"]
    missing = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            public, full_name = getattr(module, name), f"{package}.{name}"
            if full_name not in described:
                missing.append(f"{full_name} is not in docs/api")
            if inspect.isclass(public) or inspect.isroutine(public):
                missing += [f"{full_name}{member} has no docstring" for member in without_docstring(public)]
    return missing


def without_docstring(public: type) -> list[str]:
    """Parts of a class or function that say nothing: "" for itself, ".member" for a method or property."""
    parts = {"": public}
    if inspect.isclass(public):
        own = {name: getattr(public, name) for name in vars(public) if not name.startswith("_")}
        parts |= {f".{name}": x for name, x in own.items() if inspect.isroutine(x) or isinstance(x, property)}
    return [name for name, part in parts.items() if not inspect.getdoc(part)]


def warn_of_undocumented_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Report what the reference misses; the build makes errors of warnings."""
    for sentence in undocumented_names(env):
        logging.getLogger(__name__).warning(sentence)


def without_metadata_requests(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out ``set_fit_request`` and its like, which refer to pages of scikit-learn's own documentation."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app: Sphinx) -> None:
    """Connect the checks of the API reference."""
    app.connect("autodoc-skip-member", without_metadata_requests)
    app.connect("env-check-consistency", warn_of_undocumented_names)
