"""What a trained model says of a slide."""
