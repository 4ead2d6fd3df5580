"""Tests of tformer."""

import functools

from tformer_cli.train import machine

machine.product_rate = functools.cache(machine.product_rate)  # half a second for each run, whose header alone shows it
