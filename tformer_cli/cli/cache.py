"""The command `tformer cache`, which shows and prunes the cache."""

from __future__ import annotations

from pathlib import Path

import typer

OLDER = typer.Option(
    None, "--prune", metavar="DAYS", min=0, help="Remove entries not used for this many days; 0: all.",
    show_default=False,
)  # fmt: skip
FOLDER = typer.Option(None, "--folder", help="Another cache folder, as in data.cache.", show_default=False)


def cache(prune: float = OLDER, folder: Path = FOLDER) -> None:
    """Show the size of the cache of tokenised text, images and audio; with --prune, delete old entries.

    No data is lost: deleted entries are created again when needed. Entries in use by a run remain valid.
    """
    from tformer_cli.cli.output import note, table
    from tformer_cli.data.core.cache import cache_folder, entries, remove

    path = cache_folder(str(folder) if folder is not None else "")
    cache_entries = entries(path)
    if prune is not None:
        old = [entry for entry in cache_entries if entry.days >= prune]
        removed = [entry for entry in old if remove(entry)]
        note(f"removed {len(removed)} entries, {sum(entry.bytes for entry in removed) / 1e6:,.1f} MB, from {path}")
        if len(removed) < len(old):
            note(f"{len(old) - len(removed)} entries cannot be removed: no permission")
        cache_entries = entries(path)
    rows = []
    for kind in sorted({entry.kind for entry in cache_entries}):
        of_kind = [entry for entry in cache_entries if entry.kind == kind]
        oldest = max(entry.days for entry in of_kind)
        rows.append((kind, len(of_kind), f"{sum(entry.bytes for entry in of_kind) / 1e6:,.1f}", f"{oldest:.0f}"))
    if rows:
        table(("kind", "entries", "MB", "days unused, at most"), rows, title=str(path))
    else:
        note(f"{path} is empty")
