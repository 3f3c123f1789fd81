"""Driving simulator: moving traffic seen by a spinning lidar, written in the layouts of the public data sets."""
