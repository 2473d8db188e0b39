"""Every public name of the three rooms can be imported and is documented; the packages say that they are typed."""

from __future__ import annotations

import inspect
from importlib import import_module, resources

import pytest

ROOMS = ["manifolds", "rankopt", "problems"]
NAMES = [(room, name) for room in ROOMS for name in import_module(room).__all__]
CLASSES = [(room, name) for room, name in NAMES if inspect.isclass(getattr(import_module(room), name))]


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
