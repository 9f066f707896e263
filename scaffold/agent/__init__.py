"""The agent that closes gaps: a conversation in which every change is measured, inside the family's own folder."""
