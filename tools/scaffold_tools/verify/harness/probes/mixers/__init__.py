"""What mixes tokens: attention in its kinds, gated delta nets, state space layers, and their rotation."""
