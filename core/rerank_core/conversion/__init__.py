"""What makes model files: export to ONNX, int8 quantisation, rewriting of graphs."""
