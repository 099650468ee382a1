"""How gunicorn serves it: every page that is open takes a thread."""

workers = 2
worker_class = "gthread"
threads = 32
