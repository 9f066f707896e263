"""The recorded dataflow graph, numbers out of it, and the parts of a decoder found in it."""
