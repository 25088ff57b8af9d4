"""The four stages: config and files in, files out; each also `python -m convforge.stages.NAME`."""
