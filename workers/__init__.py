"""The processes that run turns, worker calls and background jobs. Imports shared, never api."""
