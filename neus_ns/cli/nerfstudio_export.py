"""Adds the subcommand `mesh` to nerfstudio's `ns-export`, which has no plugin point for exporters.

`nerfstudio.scripts.exporter` keeps its subcommands in a module-level union and hands that to `tyro.cli` when it starts.
Our methods are discovered while that module is being imported: the union does not exist yet, but the module's name
`tyro` does. So that one name is rebound to a stand-in, which behaves as tyro but widens the union in passing.
Nothing is written to nerfstudio, so the subcommand goes when this package is uninstalled.

This module is imported with the methods, on every `ns-train`: it imports nothing heavy, and a surprise within
nerfstudio costs the subcommand and a warning, never the command.
"""

import sys
import warnings
from types import ModuleType
from typing import Annotated, Any, Union, get_args, get_origin

_EXPORTER = "nerfstudio.scripts.exporter"


class _TyroWithMesh(ModuleType):
    """tyro, but `cli` offers `mesh` beside the exporter's own subcommands."""

    def __init__(self, tyro: ModuleType, exporter: ModuleType) -> None:
        super().__init__(tyro.__name__, tyro.__doc__)
        self._tyro = tyro
        self._exporter = exporter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tyro, name)

    def cli(self, f: Any, *args: Any, **kwargs: Any) -> Any:
        if f is getattr(self._exporter, "Commands", None):
            f = _with_mesh(f)
        return self._tyro.cli(f, *args, **kwargs)


def register_mesh_subcommand() -> None:
    """Make `ns-export mesh` available if `ns-export` is what is starting up; otherwise do nothing."""
    exporter = sys.modules.get(_EXPORTER)
    if exporter is None:
        return
    tyro = getattr(exporter, "tyro", None)
    if isinstance(tyro, _TyroWithMesh):
        return
    if not isinstance(tyro, ModuleType) or not hasattr(tyro, "cli"):
        _warn("its module does not hold tyro as expected")
        return
    exporter.__dict__["tyro"] = _TyroWithMesh(tyro, exporter)


def _with_mesh(commands: Any) -> Any:
    """The exporter's annotated union of subcommands with ours added, or as it was if it is no such union."""
    members = get_args(commands)
    if get_origin(commands) is not Annotated or get_origin(members[0]) is not Union:
        _warn("its subcommands are not a union any more")
        return commands
    try:
        import tyro

        from neus_ns.cli.export import ExportMesh

        mesh = Annotated[ExportMesh, tyro.conf.subcommand(name="mesh")]
        widened = Union[(*get_args(members[0]), mesh)]  # noqa: UP007
        return Annotated[(widened, *members[1:])]
    except Exception as error:  # The other subcommands must keep working whatever is wrong with ours.
        _warn(f"{type(error).__name__}: {error}")
        return commands


def _warn(reason: str) -> None:
    warnings.warn(
        f"`ns-export mesh` is not available with this nerfstudio ({reason}); use `neus-export` instead.", stacklevel=3
    )
