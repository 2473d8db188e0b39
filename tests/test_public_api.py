"""Every public name of the three rooms can be imported and is documented; the packages say that they are typed."""

from __future__ import annotations

import inspect
from enum import Enum
from importlib import import_module, resources

import pytest

ROOMS = ["manifolds", "rankopt", "problems"]
NAMES = [(room, name) for room in ROOMS for name in import_module(room).__all__]
CLASSES = [(room, name) for room, name in NAMES if inspect.isclass(getattr(import_module(room), name))]

WITHOUT_EXAMPLE = {
    # What comes back from a call, whose example shows it.
    "GeneralizedEigenpairs",
    "LayerMemory",
    "MemoryReport",
    "ParameterGroups",
    "PreconditionerChoice",
    "SampledMinimum",
    "TrainingResult",
    "Verdict",
    # What a run hands to methods and to stopping criteria; nobody else makes one.
    "BatchProgress",
    "Context",
    # A protocol, which two classes with examples meet.
    "Tokenizer",
}
"""Classes that nobody constructs, beside abstract ones, named tuples, enumerations and errors."""


def is_made_or_called(value):
    """Whether it is a function or a class of which users make values of their own."""
    if not inspect.isclass(value):
        return inspect.isroutine(value)
    return not (inspect.isabstract(value) or issubclass(value, (tuple, Enum, BaseException)))


USED = [(room, name) for room, name in NAMES if is_made_or_called(getattr(import_module(room), name))]


def public_members(cls):
    """Names of the public methods and properties of a class that the project itself defines."""
    for base in cls.__mro__:
        for name, member in vars(base).items() if base.__module__.split(".")[0] in ROOMS else ():
            if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property)):
                yield name


@pytest.mark.parametrize(("room", "name"), NAMES)
def test_public_name_is_importable_and_documented(room, name):
    value = getattr(import_module(room), name)
    own = value.__doc__  # classes do not inherit it
    assert own
    # A dataclass without a docstring gets its signature for one.
    assert not own.startswith(f"{name}(")
    if not inspect.ismodule(value):
        assert value.__module__.split(".")[0] == room


@pytest.mark.parametrize(("room", "name"), CLASSES)
def test_public_methods_are_documented(room, name):
    cls = getattr(import_module(room), name)
    undocumented = [member for member in public_members(cls) if not inspect.getdoc(getattr(cls, member))]
    assert undocumented == []


@pytest.mark.parametrize(("room", "name"), [used for used in USED if used[1] not in WITHOUT_EXAMPLE])
def test_what_users_make_or_call_has_an_example(room, name):
    _, _, examples = getattr(import_module(room), name).__doc__.partition("Examples\n")
    assert ">>>" in examples
    assert any(name in line for line in examples.splitlines() if " import " not in line)


def test_exceptions_from_the_need_of_an_example_are_needed():
    assert {name for room, name in USED if ">>>" not in getattr(import_module(room), name).__doc__} == WITHOUT_EXAMPLE


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_listed_once(room):
    names = import_module(room).__all__
    assert len(set(names)) == len(names)
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize("room", ROOMS)
def test_package_is_typed(room):
    assert resources.files(room).joinpath("py.typed").is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_unknown_names_are_refused(room):
    with pytest.raises(AttributeError, match="no_such_name"):
        import_module(room).no_such_name  # noqa: B018
