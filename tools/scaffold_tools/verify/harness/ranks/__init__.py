"""One model on several processes of this machine: how it is split, how they are kept, what each of them does."""
