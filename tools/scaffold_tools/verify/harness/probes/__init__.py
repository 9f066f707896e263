"""What a toy computes, measured from one recorded forward pass. No names are looked at."""
