"""Trained models to share: a folder with a model card, verified when it is fetched; on huggingface.co or on a disk."""
