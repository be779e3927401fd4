"""The command line: `loopwm COMMAND [overrides]`, one file for each command. Hydra stops here."""
