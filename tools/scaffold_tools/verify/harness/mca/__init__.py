"""ROLL's mcore_adapter on this machine: taken from a checkout, patched for a CPU, watched while it loads and saves."""
