"""The benchmarks: each question of speed or memory, measured beside its limit or a peer in the same run.

`python -m benchmarks --list` shows the questions, `README.md` the figures and how they are taken.
"""
