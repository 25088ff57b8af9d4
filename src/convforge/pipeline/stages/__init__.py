"""Config and files in, files out; each also as `python -m convforge.pipeline.stages.NAME`."""
