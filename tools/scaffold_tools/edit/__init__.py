"""Edits of other people's files that keep all the rest as it was: bytes in, bytes out, twice is as good as once."""

from scaffold_tools.edit.exports import add_to_dunder_all, exported_names
from scaffold_tools.edit.imports import add_import_from, imported_names
from scaffold_tools.edit.markdown import add_table_row, add_toctree_entry
from scaffold_tools.edit.models_init import add_to_family_init, add_to_models_init

__all__ = [
    "add_import_from",
    "add_table_row",
    "add_to_dunder_all",
    "add_to_family_init",
    "add_to_models_init",
    "add_toctree_entry",
    "exported_names",
    "imported_names",
]
