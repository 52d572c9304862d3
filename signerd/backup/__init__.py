"""Backup and restore of a whole installation: all that the package does not bring.

``places`` is the closed list of what belongs to it; ``manifest`` says what a backup holds, and why it is believed;
``sealing`` encrypts what is secret; ``saving`` makes a backup, ``restoring`` checks one and puts it in place.
"""
