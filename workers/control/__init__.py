"""What stops a running turn, and where a test may stop a process. Leaf modules that import shared alone.

signal.py        Signal: requests to stop, made in one thread and obeyed in another
stops.py         the exceptions with which a turn leaves its loop
fault_points.py  named points at which a test kills or stops the process
"""
