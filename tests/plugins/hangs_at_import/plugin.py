"""Never gets to the end of its import."""

import time

while True:
    time.sleep(3600)
