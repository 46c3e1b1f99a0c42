"""``mpiqe serve``: a scorer behind HTTP.

``server.py`` listens, ``app.py`` has the routes, ``body.py`` reads what was sent, ``service.py`` scores it and knows no
HTTP, ``options.py`` has bounds, address and token, ``metrics.py`` the counters, ``openapi.py`` the description.
"""
