"""The command `tformer cache`, which shows and prunes the cache."""

from __future__ import annotations

from pathlib import Path

import typer

OLDER = typer.Option(
    None, "--prune", metavar="DAYS", min=0, help="Remove what no run has used for so many days; 0: all.",
    show_default=False,
)  # fmt: skip
FOLDER = typer.Option(None, "--folder", help="Another cache, as data.cache names it.", show_default=False)


def cache(prune: float = OLDER, folder: Path = FOLDER) -> None:
    """Show the size of the cache of tokenised text, images and audio; with --prune, delete old entries.

    No data is lost: deleted entries are created again when needed. Entries in use by a run remain valid.
    """
    from tformer_cli.cli.output import note, table
    from tformer_cli.data.core.cache import cache_folder, entries, remove

    place = cache_folder(str(folder) if folder is not None else "")
    cache_entries = entries(place)
    if prune is not None:
        old = [entry for entry in cache_entries if entry.days >= prune]
        removed = [entry for entry in old if remove(entry)]
        note(f"removed {len(removed)} entries, {sum(entry.bytes for entry in removed) / 1e6:,.1f} MB, from {place}")
        if len(removed) < len(old):
            note(f"{len(old) - len(removed)} entries cannot be removed: no permission")
        cache_entries = entries(place)
    rows = []
    for kind in sorted({entry.kind for entry in cache_entries}):
        some = [entry for entry in cache_entries if entry.kind == kind]
        oldest = max(entry.days for entry in some)
        rows.append((kind, len(some), f"{sum(entry.bytes for entry in some) / 1e6:,.1f}", f"{oldest:.0f}"))
    if rows:
        table(("kind", "entries", "MB", "days unused, at most"), rows, title=str(place))
    else:
        note(f"{place} is empty")
