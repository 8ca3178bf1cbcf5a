//! Bytes to graphs and weights, and back: PyTorch, safetensors, npy.
