"""Prediction without training: the tiles of a slide are compared with texts in the joint space of an encoder."""
