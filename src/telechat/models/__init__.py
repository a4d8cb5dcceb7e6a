"""What the model is: architectures, presets, checkpoints."""
