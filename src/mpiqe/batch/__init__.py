"""Jobs that score any number of images and can be continued. ``job.score_to`` is the way in."""
