"""What the model learns from: corpora, mixtures, selection."""
