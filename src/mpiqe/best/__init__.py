"""The best of several shots of one subject: which photos belong together, and which of them scores best."""
