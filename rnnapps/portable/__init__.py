"""Exported models outside of TensorFlow: ONNX, LiteRT, C++, and smaller weights.

    python -m rnnapps.portable                     what there is
    rnnapps.portable.convert.convert_export        from a SavedModel to .onnx or .tflite files
    rnnapps.portable.aot.write_program             a text generator as a C++ program
    rnnapps.portable.quantized.write_quantized     a SavedModel with float16 or int8 matrices

All start from a SavedModel that `export` wrote; a run's folder is not wanted.
"""
