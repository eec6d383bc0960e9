"""Prediction: classes of slides and patients from a trained model."""
