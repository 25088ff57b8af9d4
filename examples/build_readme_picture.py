"""Build docs/results.png: what one run leaves, from the pictures of the last `dvc repro`.

python examples/build_readme_picture.py docs/results.png
"""

import sys
from pathlib import Path

from PIL import Image

EVALUATION = Path(__file__).resolve().parents[1] / "build" / "evaluate"
# Of the Grad-CAMs the head and the first two rows: pixels from above.
PICTURES = {
    EVALUATION / "pictures" / "learning_curves.png": None,
    EVALUATION / "pictures" / "first_layer_kernels.png": None,
    EVALUATION / "grad_cam.png": 416,
}


def main(target: Path) -> None:
    parts = []
    for path, height in PICTURES.items():
        picture = Image.open(path).convert("RGB")
        parts.append(picture.crop((0, 0, picture.width, height or picture.height)))
    page = Image.new(
        "RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white"
    )
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height
    # 256 colours are a third of the bytes, and nobody sees the difference.
    page.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
