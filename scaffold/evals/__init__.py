"""Measures whether a skill helps: the same task with it and without it, decided by what can be verified afterwards."""
