"""What an exported net says of image files, by the runtime of its format and without convforge.

convforge export build/train --to onnx
python examples/exported_model.py maxout_cnn.onnx photo.jpg

ONNX asks for onnxruntime, a SavedModel for tensorflow, LiteRT for ai-edge-litert.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def ask_onnx(model, files):
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    name = session.get_inputs()[0].name
    # Pixels 0..255 of any size, grey or coloured, (images, height, width, channels).
    return [session.run(None, {name: pixels(file)[None]})[0][0] for file in files]


def ask_saved_model(model, files):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model))
    return [loaded.images(pixels(file)[None]).numpy()[0] for file in files]


def ask_litert(model, files):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    (given,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, height, width, channels = given["shape"]
    answers = []
    for file in files:
        # It has no resizing of its own; this is data.geometry=resize.
        image = upright(file).convert("L" if channels == 1 else "RGB")
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        sized = np.asarray(image, given["dtype"]).reshape(1, height, width, channels)
        interpreter.set_tensor(given["index"], sized)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(answer["index"])[0])
    return answers


def upright(file):
    return ImageOps.exif_transpose(Image.open(file))


def pixels(file):
    return np.asarray(upright(file).convert("RGB"))


model, files = Path(sys.argv[1]), sys.argv[2:]
classes = json.loads(Path(f"{model}.card.json").read_text(encoding="utf-8"))["classes"]
ask = {".onnx": ask_onnx, ".tflite": ask_litert}.get(model.suffix, ask_saved_model)
for file, answer in zip(files, ask(model, files), strict=True):
    print(f"{file}: {classes[answer.argmax()]} {answer.max():.2%}")
