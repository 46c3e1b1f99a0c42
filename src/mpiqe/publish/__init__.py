"""A trained model as a folder for the Hugging Face Hub, and on it: ``folder.py``, ``card.py``, ``upload.py``."""
