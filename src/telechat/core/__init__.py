"""The words that every room uses. No torch."""
