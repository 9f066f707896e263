"""Mixtures of experts: found in the graph, their experts and routers fitted."""
