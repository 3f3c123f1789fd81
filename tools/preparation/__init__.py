"""What `tools/prepare_data.py` does, a module for each kind of data, each with the commands of its data sets."""
