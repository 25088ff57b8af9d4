"""Run a notebook from its first cell to its last, and write it with what its cells show.

    python examples/run_notebook.py examples/layers_in_keras.ipynb           # in place
    python examples/run_notebook.py examples/layers_in_keras.ipynb elsewhere.ipynb

Cells find files from the notebook's own folder. What differs between machines and says nothing of
the notebook is not written: times, versions, and, where a cell has the tag `remove-stderr`, what
TensorFlow tells of the machine while it is imported.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(notebook: Path, target: Path, own: Path) -> None:
    """Run `notebook`, and write it to `target`; the kernel's own files are in `own`."""
    content = nbformat.read(notebook, as_version=4)
    # A cell that fails ends it here.
    NotebookClient(
        content,
        kernel_name="python3",
        timeout=600,
        coalesce_streams=True,
        record_timing=False,
        # Sockets in a folder: by default they are open ports of the machine.
        config=Config({"KernelManager": {"transport": "ipc", "ip": str(own / "kernel")}}),
        resources={"metadata": {"path": str(notebook.resolve().parent)}},
    ).execute()
    content.metadata = nbformat.from_dict(METADATA)
    for cell in content.cells:
        if "remove-stderr" in cell.metadata.get("tags", ()):
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    nbformat.validate(content)
    nbformat.write(content, target)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as own:
        # No history, and no start-up file of a person's.
        os.environ.update(IPYTHONDIR=own, JUPYTER_RUNTIME_DIR=own, JUPYTER_CONFIG_DIR=own)
        main(Path(sys.argv[1]), Path(sys.argv[-1]), Path(own))
