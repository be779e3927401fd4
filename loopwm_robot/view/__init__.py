"""A planner at work in the browser: `session.py` is the loop and knows no browser, the rest shows it with viser."""
