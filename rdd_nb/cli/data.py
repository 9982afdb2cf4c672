"""The commands about data: which there are, what one holds, and what is kept of large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rdd_nb.cli.options import Json, Reading, Root, emit, groups_folder, is_own, load, say
from rdd_nb.core.escaping import terminal

if TYPE_CHECKING:
    from rdd_nb.cli.outputs.data import DataCache, DataFetch

__all__ = ["command_cache", "command_fetch", "command_list"]


def command_list(as_json: Json = False) -> None:
    """List the data sets and the scenarios that shift them into named groups.

    \b
    Example: rdd-nb data list
    """
    from rdd_nb.data import loading, scenarios

    if as_json:
        emit({"datasets": loading.available(), "scenarios": scenarios.available()})
        return
    print("Data sets (--data NAME)")
    _print_names(loading.available())
    print("\nScenarios (--scenario NAME, with --option KEY=VALUE)")
    _print_names(scenarios.available())


def command_fetch(
    name: Annotated[str, typer.Argument(help="See `rdd-nb data list`.")],
    root: Root = None,
    reading: Reading = None,
    as_json: Json = False,
) -> None:
    """Load a data set once, so that it is downloaded and checked, and say what it holds.

    \b
    Example: rdd-nb data fetch cifar10 --root ~/data
    """
    from rdd_nb.data import sources

    splits = load({"data": name, **reading}, root)
    train, where = splits.train, str(sources.default_root() if root is None else root)
    where = name.partition(":")[2] if is_own(name) else where
    validation = 0 if splits.validation is None else len(splits.validation)
    said: DataFetch = {
        "name": splits.name,
        "train": len(train),
        "validation": validation,
        "test": len(splits.test),
        "classes": list(train.class_names),
        "groups": list(train.group_names),
        "shape": list(train.shape),
        "root": where,
    }
    if as_json:
        emit(said)
        return
    groups = f", {train.num_groups} groups" if train.num_groups else ""
    size_text = "×".join(map(str, train.shape))
    between = f"{validation:,} validation + " if validation else ""
    say(
        f"{splits.name}: {len(train):,} train + {between}{len(splits.test):,} test images of {size_text}, "
        f"{train.num_classes} classes{groups}; data folder {where}"
    )


def command_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is kept on this machine, where, and what it takes; or remove it.

    That is decoded pixels of large data, and groups that were found; both are made again when they are needed. The
    environment's RDD_NB_CACHE names another folder for them, or says off.

    \b
    Example: rdd-nb data cache --clear
    """
    from rdd_nb.clustering.groups_file import kept_files
    from rdd_nb.data.image_cache import cache_folder, kept_sets, remove_kept

    root = cache_folder()
    found = [] if root is None else remove_kept(root) if clear else kept_sets(root)
    size = sum(each.size for each in found)
    folder = groups_folder()
    searches = [] if folder is None else kept_files(folder)
    searched = sum(file.stat().st_size for file in searches)
    for file in searches if clear else ():
        file.unlink(missing_ok=True)
    told: DataCache = {
        "root": None if root is None else str(root),
        "removed": clear,
        "bytes": size,
        "groups": {"files": len(searches), "bytes": searched},
        "sets": [{"name": each.name, "shape": list(each.shape), "bytes": each.size} for each in found],
    }
    if as_json:
        emit(told)
        return
    if root is None:
        say("nothing is kept: RDD_NB_CACHE is off")
        return
    for each in found:
        kind = f"{each.shape[0]:,} images of {'×'.join(map(str, each.shape[1:]))}" if each.shape else "not yet whole"
        print(f"{each.size / 1e9:8.2f} GB  {terminal(each.name)}, {kind}")
    what = f"{len(found)} set{'s' * (len(found) != 1)}, {size / 1e9:,.2f} GB"
    if searches:
        what += f", and groups found in {len(searches)} file{'s' * (len(searches) != 1)}, {searched / 1e6:,.1f} MB,"
    say(f"{what} {'removed from' if clear else 'in'} {root}")


def _print_names(names: dict[str, str]) -> None:
    width = max(map(len, names))
    for name, description in names.items():
        print(f"  {name:{width}}  {description}")
