"""Drawn slides whose findings and their places are known: does the model answer, and look at the right tiles?"""
