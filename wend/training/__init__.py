"""What the trainers of both engines share: checkpoints and resume, signals, evaluations.

Each file holds one idea that an engine's trainer calls at its place in the loop; no engine is known
here.
"""
