"""Measurements that look inside a model: arrays in, arrays out, each with its formula and source."""
