"""Tests of tformer, in which what takes time and changes no result is done once or not at all."""

import functools
import os

from tformer_cli import builtin, machine

machine.product_rate = functools.cache(machine.product_rate)  # half a second for each run, whose header alone shows it
machine.fastest = functools.partial(machine.fastest, rounds=1)  # a second for each shape; all compute the same
os.fsync = os.fstat  # milliseconds for each file, though a process never loses what it wrote; both need an open file
_pairs = functools.cache(builtin.parallel)
builtin.parallel = lambda *arguments, **settings: list(_pairs(*arguments, **settings))  # a fifth of a short run
