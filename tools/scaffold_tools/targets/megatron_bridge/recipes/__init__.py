"""Training recipes of one model: sizes, memory, parallel layouts, names, and the files and edits that follow."""
