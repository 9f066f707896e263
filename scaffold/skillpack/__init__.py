"""The playbooks for coding agents: what there is, and how they come to where an agent looks."""
