"""Tiny models of the same architecture: configs shrunk by what each key is, built and randomised."""
