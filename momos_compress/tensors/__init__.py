"""Named tensors in files: what safetensors holds, read one at a time."""
