"""The four stages: config and files in, files out. Each runs as `python -m convforge.stages.NAME`."""
