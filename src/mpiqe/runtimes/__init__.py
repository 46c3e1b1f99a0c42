"""Runtimes: RGB crops of images in, a ``Prediction`` out, by ONNX Runtime, OpenVINO or torch."""
