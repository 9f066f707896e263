"""The coverage matrix: the whole pipeline for every causal language model that the installed transformers has."""
