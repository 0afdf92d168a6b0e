"""Measuring and breaking real networks: clusters of node processes on this machine, load, faults, reports."""
