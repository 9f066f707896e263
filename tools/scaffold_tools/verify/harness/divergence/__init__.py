"""First divergence: both models run side by side, and the first place where they part is named."""
