"""Measurements that look inside a model: functions of arrays, each with its formula and source."""
