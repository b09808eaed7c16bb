"""What a method handler may touch, and what several handlers share.

services:          what one API process holds
context:           one request
params, schemas:   load params, from dataclasses
results:           results that several methods share
settings:          overrides of a thread's settings
sandbox_policy:    what a user may ask for of the sandbox and of paths
user_config:       a user's own configuration
subscriptions:     follow a thread and replay its open items
turn_control:      stop and drop turns
worker_calls:      ask a worker for what needs a workspace
workspace_paths:   paths and workspaces that a request names
workspace_sources: what a new workspace is made from
history, pages:    turns and items as clients see them, and cursors of lists
goals, admin:      the goal of a thread; what admins may do

Imports api.access, api.delivery and shared, never api.methods or api.transport.
"""
