"""Carrying a plan out while the next one is made: in simulation, and what the bridge's loop shares with it."""
