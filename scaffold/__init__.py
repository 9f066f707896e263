"""The faces: command line, pipeline, run folder, checklist."""
