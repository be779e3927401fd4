"""What a run leaves for people: figures, a film of the arm, and one self-contained page."""
