"""Measurements and torture: programs that start what they measure and stop it again.

`python -m bench.engine` and `python -m bench.torture`; results go to `bench/out/`.
"""
