"""Computation of a meta-step: eager, compiled, or as one CUDA graph; in chunks of tasks that fit the memory.

None of it decides a number: every engine, chunk and rematerialisation gives the same gradient up to rounding.
"""
