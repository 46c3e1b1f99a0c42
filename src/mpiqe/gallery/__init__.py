"""A static page of scored photos: ``mpiqe report``."""
